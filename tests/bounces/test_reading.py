"""What mails that came back say, held against real ones: class, code, and the recipient that they tell of."""

from __future__ import annotations

from email import message_from_bytes
from pathlib import Path

import pytest
from flufl.bounce import all_failures

from relay.bounces.notifications import reports
from relay.bounces.parts import holding
from relay.bounces.reading import Kind, read

CORPUS = """
MailCore__mailcore2/parser/input/mbox/jwz/132.eml | hard 5.0.0 | newsletter-request@imusic.com
MailCore__mailcore2/parser/input/mbox/jwz/21.eml | hard 5.0.0
MailCore__mailcore2/parser/input/mbox/jwz/22.eml | unknown
MailCore__mailcore2/summary/input/2113-formatting.eml | complaint abuse
Webklex__php-imap/example_bounce.eml | hard 5.0.0 | ding@ding.de
jhillyerd__enmime/dsn/testdata/delayed_dsn.raw.eml | delayed 4.0.0 | thomas@de-montfort.ac.uk
jhillyerd__enmime/dsn/testdata/dsn_with_multipart_alternative.raw.eml | hard 5.1.10 | non-existing@example.com
jhillyerd__enmime/dsn/testdata/multi_recipient_dsn.raw.eml | hard 5.0.0 | arathib@vnet.ibm.com
jhillyerd__enmime/dsn/testdata/simple_dsn.raw.eml | soft 4.0.0 | louisl@larry.slip.umd.edu
jhillyerd__enmime/dsn/testdata/simple_dsn_with_html.raw.eml | soft 4.0.0 | louisl@larry.slip.umd.edu
jhillyerd__enmime/testdata/mail/multipart-wo-boundary.raw.eml | hard 5.0.0
jstedfast__MimeKit/messages/bounce.txt.eml | hard 5.1.1
jstedfast__MimeKit/messages/delivery-status-multiple-blank-lines.txt.eml | hard 5.5.0 | orig_recip@customer.com
jstedfast__MimeKit/messages/delivery-status-no-blank-line.txt.eml | hard 5.0.0 | newsletter-request@imusic.com
jstedfast__MimeKit/messages/delivery-status.txt.eml | hard 5.0.0 | newsletter-request@imusic.com
jstedfast__MimeKit/messages/delivery-status2.txt.eml | hard 5.0.0 | source@domain.com
jstedfast__MimeKit/messages/delivery-status.anonymized.eml | unknown
jstedfast__MimeKit/messages/disposition-notification.anonymized.eml | delivered
jstedfast__MimeKit/messages/disposition-notification.txt.eml | delivered
jstedfast__MimeKit/messages/feedback-report.txt.eml | complaint abuse
laminas__laminas-mail/laminas-mail-19.eml | soft 4.4.7 | sysadmin@internet.com
mailgun__flanker/bounce/broken-mime.eml | soft 5.0.0
mailgun__flanker/bounce/delayed-broken.eml | soft 4.2.2 | demo@example.com
mailgun__flanker/bounce/delayed.eml | soft 4.0.0 | foo@example.com
mailgun__flanker/bounce/gmail-invalid-address.eml | hard 5.1.0
mailgun__flanker/bounce/gmail-no-dns.eml | hard 5.0.0
mailgun__flanker/bounce/mailbox-full.eml | soft 5.2.2 | user@aol.com
mailgun__flanker/bounce/no-mx.eml | delayed 4.4.4 | user@example.com
mailgun__flanker/bounce/office365.eml | hard 5.1.10 | noname@example.com
mailgun__flanker/bounce/zed.eml | hard 5.1.1 | asdfasdfasdfasdfasdfasdfewrqertrtyrthsfgdfgadfqeadvxzvz@gmail.com
mailgun__flanker/complaints/aol.eml | complaint abuse
mailgun__flanker/complaints/yahoo.eml | complaint abuse
mailgun__flanker/disposition-notification.eml | delivered
mikel__mail/mime_emails/raw_email_with_mimepart_without_content_type.eml | delayed 4.5.0 | larose.julie@courrier.uqam.ca
mikel__mail/multipart_report_emails/multi_address_bounce1.eml | hard 5.1.1 | bbbbvhvbbvkjbhfbvbvjhb@gmail.com
mikel__mail/multipart_report_emails/multipart_report_multiple_status.eml | hard 5.3.0 | u@ci.com
mikel__mail/multipart_report_emails/report_422.eml | delayed 4.2.2 | fraser@oooooooo.com.au
mikel__mail/multipart_report_emails/report_530.eml | hard 5.3.0 | edwin@zzzzzzz.com
php-mime-mail-parser__php-mime-mail-parser/failure.eml | unknown
python__cpython/msg_16.txt.eml | soft 5.0.0 | jangel1@cougar.noc.ucla.edu
python__cpython/msg_25.txt.eml | soft 5.4.6 | scoffman@wellpartner.com
python__cpython/msg_43.txt.eml | hard 5.7.1 | xxxxxxx@dot.ca.gov
stalwartlabs__mail-parser/thirdparty/015.eml | unknown
apache__spamassassin/t.rules/BOUNCE_MESSAGE/1.eml | soft 5.0.0
apache__spamassassin/t.rules/BOUNCE_MESSAGE/10.eml | automatic
apache__spamassassin/t.rules/BOUNCE_MESSAGE/14.eml | hard 5.1.1 | s.woolcock@cris.unu.edu
apache__spamassassin/t.rules/BOUNCE_MESSAGE/2.eml | hard 5.0.0
apache__spamassassin/t.rules/BOUNCE_MESSAGE/3.eml | hard 5.1.2
apache__spamassassin/t.rules/BOUNCE_MESSAGE/4.eml | soft 5.4.6
apache__spamassassin/t.rules/BOUNCE_MESSAGE/6.eml | hard 5.0.0
apache__spamassassin/t.rules/BOUNCE_MESSAGE/7.eml | hard 5.1.1
apache__spamassassin/t.rules/BOUNCE_MESSAGE/bug-5942-1.eml | delayed 4.2.2
apache__spamassassin/t.rules/BOUNCE_MESSAGE/bug-5942-2.eml | delayed 4.0.0
apache__spamassassin/t.rules/BOUNCE_MESSAGE/bug-6051-1.eml | hard 5.0.0
apache__spamassassin/t.rules/BOUNCE_MESSAGE/bug5884_att4343_2.eml | soft 5.2.2 | vos01589@planet.nl
apache__spamassassin/t.rules/BOUNCE_MESSAGE/bug5884_att4343_centroshop.eml | hard 5.0.0 | aleshina@centroshop.ru
apache__spamassassin/t.rules/BOUNCE_MESSAGE/bug5884_att4343_tbwamerlin.eml | hard 5.1.1 | b16f1252@tequila.ro
apache__spamassassin/t.rules/BOUNCE_MESSAGE/fp-bug-5942-3.eml | automatic
apache__spamassassin/t.rules/BOUNCE_MESSAGE/fp-bug5882-att4297.eml | unknown
apache__spamassassin/t.rules/BOUNCE_MESSAGE/fp-bug5882-att4298.eml | unknown
apache__spamassassin/t.rules/BOUNCE_MESSAGE/fp-bug5882-att4299.eml | automatic
apache__spamassassin/t.rules/BOUNCE_MESSAGE/fp-bug5882-att4300.eml | automatic
apache__spamassassin/t.rules/BOUNCE_MESSAGE/fp-bug5882-att4301.eml | unknown
apache__spamassassin/t.rules/BOUNCE_MESSAGE/fp-bug5900-1.eml | hard 5.0.0
apache__spamassassin/t.rules/BOUNCE_MESSAGE/fp-bug5942-1.eml | automatic
apache__spamassassin/t.rules/BOUNCE_MESSAGE/fp-bug5994-1.eml | automatic
apache__spamassassin/t.rules/BOUNCE_MESSAGE/fp-bug6008-1.eml | automatic
apache__spamassassin/t.rules/BOUNCE_MESSAGE/fp_bug5912_att4321.eml | hard 5.3.0 | wlycnh1@pacbell.net
apache__spamassassin/t.rules/BOUNCE_MESSAGE/fp_bug5912_att4322.eml | hard 5.3.0 | wlycnh1@pacbell.net
apache__spamassassin/t.rules/VBOUNCE_MESSAGE/bug5884_att4343_gwava.eml | hard 5.0.0
apache__spamassassin/t.rules/VBOUNCE_MESSAGE/bug5884_att4343_kerbango.eml | unknown
"""
"""Mail, what it says, and the first recipient that it tells of in a form for programs."""

FLUFL = Path(__file__).parent / "flufl"
"""Samples of the package flufl.bounce, with its licence."""
SOFT = """
bounce_03 hotpop_01 netscape_01 newmailru_01 postfix_04 qmail_06 sendmail_01 simple_01 simple_07 simple_09
simple_14 simple_18 simple_38 simple_44 simple_45 smtp32_01 smtp32_02 yahoo_01 yahoo_02 yahoo_04
"""
"""Of these, the ones that speak of a full mailbox, a mail too large, a loop, or of time that is over."""
DELAYED = "dsn_17 simple_03 simple_21 simple_22 simple_28 simple_35 simple_40"
NONE = "groupwise_03 qmail_08 simple_20"
"""A reply by a person, one by an autoresponder, and a bounce that nothing but "RE: … (delivery failed)" tells from the
reply to a mail of that subject."""


def entries():
    return [[each.strip() for each in line.split("|")] for line in CORPUS.strip().splitlines()]


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry[0].rpartition("/")[2])
def test_real_mails_are_read_right(corpus, entry):
    name, said, *recipient = entry
    content = (corpus / "eml" / name).read_bytes()
    found = read(content)
    assert f"{found.kind} {found.status}".strip() == said
    told = [report for leaf in holding(content).leaves if "status" in leaf.type for report in reports(leaf.text)]
    assert [report.addresses[0].strip("<>") for report in told if report.action][:1] == recipient
    assert found.text.isprintable()


def test_every_report_in_the_corpus_is_in_the_table(corpus):
    marks = (b"message/delivery-status", b"message/feedback-report", b"message/disposition-notification")
    there = {path for path in (corpus / "eml").rglob("*.eml") if any(m in path.read_bytes().lower() for m in marks)}
    assert {str(path.relative_to(corpus / "eml")) for path in there} <= {entry[0] for entry in entries()}


@pytest.mark.parametrize("path", sorted(FLUFL.glob("*.eml")), ids=lambda path: path.stem)
def test_what_mail_servers_of_every_age_write_is_understood(path):
    found = read(path.read_bytes())
    kinds = {Kind.SOFT: SOFT, Kind.DELAYED: DELAYED}
    expected = next((kind for kind, names in kinds.items() if path.stem in names.split()), Kind.HARD)
    if path.stem in NONE.split():
        assert found.kind in (Kind.UNKNOWN, Kind.AUTOMATIC)
        return
    assert found.kind is expected
    temporary, permanent = all_failures(message_from_bytes(path.read_bytes()))
    assert not temporary or found.kind is Kind.DELAYED
    assert not permanent or found.kind in (Kind.HARD, Kind.SOFT)
