"""Mails as the other services' own pages show them: handed to us as they are, they do what their app wanted."""

from __future__ import annotations

import dataclasses
import email
import email.policy
import re
from uuid import UUID

import pytest

from relay.config import SenderConfig
from relay.instrumenting import Reader, plan
from relay.reception.headers import Headers
from relay.reception.senders import SPEAKING_HEADERS, profile_for
from relay.rewriting import message
from tracker.tokens import KEY_BYTES, Click, Keyring, Mirror, OptOut

KEYRING = Keyring([bytes(KEY_BYTES)])
ID = UUID(int=7)
ANN = Reader(1, "ann@example.net")
T = "https://t.test"

MAILGUN = """\
From: Excited User <news@example.com>
To: ann@example.net
Subject: Hello
X-Mailgun-Tag: September newsletter
X-Mailgun-Tag: newsletters
X-Mailgun-Track: yes
X-Mailgun-Track-Clicks: htmlonly
X-Mailgun-Variables: {"first_name": "John",
 "last_name": "Smith"}
Content-Type: multipart/alternative; boundary=b

--b
Content-Type: text/plain

https://www.example.com/ or leave: %unsubscribe_url%
--b
Content-Type: text/html

<a href="https://www.example.com/">Mailgun</a>
<a disable-tracking=true href="https://www.example.com/reset">Reset</a>
<a href="%unsubscribe_url%">Click</a> to unsubscribe
--b--
"""

POSTMARK = """\
From: news@example.com
To: ann@example.net
Subject: Hello
X-PM-Tag: welcome-email
X-PM-TrackOpens: true
X-PM-TrackLinks: HtmlAndText
X-PM-Metadata-color: blue
X-PM-Metadata-client-id: 12345
Content-Type: multipart/alternative; boundary=b

--b
Content-Type: text/plain

https://www.example.com/start
{{{ pm:unsubscribe }}}
--b
Content-Type: text/html

<a href="https://www.example.com/start">Start</a>
<a href="https://www.example.com/secret" data-pm-no-track>Secret</a>
<a href="{{{ pm:unsubscribe }}}">Unsubscribe</a>
--b--
"""

SENDGRID = """\
From: news@example.com
To: ann@example.net
Subject: Hello
X-SMTPAPI: {"category": ["Orders"], "unique_args": {"order_number": "12345"},
 "filters": {"clicktrack": {"settings": {"enable": 1, "enable_text": true}},
 "opentrack": {"settings": {"enable": 0}}}}
Content-Type: multipart/alternative; boundary=b

--b
Content-Type: text/plain

https://www.example.com/order
Leave: <%asm_group_unsubscribe_raw_url%>
--b
Content-Type: text/html

<a href="https://www.example.com/order">Order</a>
<a clicktracking=off href="https://www.example.com/app">App</a>
<a clicktracking="off" href="<%asm_group_unsubscribe_raw_url%>">Unsubscribe</a>
--b--
"""

MANDRILL = """\
From: news@example.com
To: ann@example.net
Subject: Hello
X-MC-Tags: welcome,new-user
X-MC-Track: opens,clicks_htmlonly
X-MC-Metadata: {"user_id": "45829", "location_id": "111"}
Content-Type: multipart/alternative; boundary=b

--b
Content-Type: text/plain

https://www.example.com/
--b
Content-Type: text/html

<a href="*|ARCHIVE|*">View in browser</a>
<a href="https://www.example.com/">Shop</a>
<a href="https://www.example.com/pay" mc:disable-tracking>Pay</a>
<a href="*|UNSUB|*">Unsubscribe</a>
--b--
"""

SPARKPOST = """\
From: news@example.com
To: ann@example.net
Subject: Hello
X-MSYS-API: {"campaign_id": "spring-sale", "metadata": {"binding": "silver"},
 "tags": ["sale"], "options": {"open_tracking": false, "click_tracking": true}}
Content-Type: multipart/alternative; boundary=b

--b
Content-Type: text/plain

https://www.example.com/app[[data-msys-clicktrack="0"]]
https://www.example.com/out[[data-msys-unsubscribe="1"]]
--b
Content-Type: text/html

<a href="https://www.example.com/sale" data-msys-linkname="Sale">On sale</a>
<a data-msys-clicktrack="0" href="https://www.example.com/app">App</a>
<a data-msys-unsubscribe="1" href="https://www.example.com/out" title="Leave">Leave</a>
--b--
"""

SES = """\
From: news@example.com
To: ann@example.net
Subject: Hello
X-SES-CONFIGURATION-SET: ConfigSet
X-SES-MESSAGE-TAGS: campaign=book, genre=fantasy
Content-Type: text/html

<a ses:no-track href="https://www.example.com/private">Private</a>
<a ses:tags="product:book;genre:fantasy;" href="https://www.example.com/book">Book</a>
"""

POSTAL = """\
From: news@example.com
To: ann@example.net
Subject: Hello
Content-Type: text/html

<a href="https+notrack://www.example.com/private">Private</a>
<a href="https://www.example.com/book">Book</a>
"""

ADOBE = """\
From: news@example.com
To: ann@example.net
Subject: Hello
Content-Type: text/html

<a data-nl-type="externalLink" data-tracking-type="TRACKED" data-label="Shop" href="https://www.example.com/">x</a>
<a data-nl-type="optOut" data-tracking-type="DIRECT_OPTOUT" href="https://www.example.com/out">Leave</a>
<a data-nl-type="mirrorPage" data-tracking-type="MIRROR_PAGE" href="https://www.example.com/web">Web</a>
<a data-nl-type="externalLink" data-tracking-type="NEVER" href="https://www.example.com/reset">Reset</a>
"""

MAUTIC = """\
From: news@example.com
To: ann@example.net
Subject: Hello
Content-Type: text/html

<a href="https://www.example.com/" mautic:disable-tracking="true">Home</a>
"""


def handed_over(text, keeps=None, **settings):
    raw = text.replace("\n", "\r\n").encode()
    sender = SenderConfig.model_validate({"match": "*@example.com", "tracking_url": T} | settings)
    headers = Headers(message.select(raw, SPEAKING_HEADERS))
    profile = profile_for([sender], "bounce@example.com", None, headers, T, KEYRING.ids[0], [ANN.address])
    found = plan(raw, dataclasses.replace(profile, keeps=keeps), KEYRING)
    return found, email.message_from_bytes(found.copy_for(ANN, ID, KEYRING), policy=email.policy.default)


def what(url):
    """What a URL that left us leads to."""
    match = re.fullmatch(rf"{T}/([cum])/([\w-]+)", url)
    if match is None:
        return url
    claim = KEYRING.open({"c": Click, "u": OptOut, "m": Mirror}[match[1]], match[2])
    if isinstance(claim, Click):
        return claim.type.value, claim.url
    assert claim.recipient == 1
    if isinstance(claim, OptOut):
        assert (claim.sender, claim.address) == ("news@example.com", "ann@example.net")
    return type(claim).__name__


def bodies(mail):
    page = mail.get_body(("html",)).get_content()
    text = mail.get_body(("plain",))
    hrefs = [what(value) for value in re.findall(r'href="([^"]*)"', page)]
    return hrefs, [
        what(url) for url in re.findall(r"https?://[^\s\[]+|\S*(?:%|\{|\[)\S*", text.get_content() if text else "")
    ]


CASES = {
    "Mailgun": (
        MAILGUN, (True, "September newsletter", None, {"first_name": "John", "last_name": "Smith"}),
        [("tracked", "https://www.example.com/"), "https://www.example.com/reset", "OptOut"],
        ["https://www.example.com/", "OptOut"],
    ),
    "Postmark": (
        POSTMARK, (True, "welcome-email", None, {"color": "blue", "client-id": "12345"}),
        [("tracked", "https://www.example.com/start"), "https://www.example.com/secret", "OptOut"],
        [("tracked", "https://www.example.com/start"), "OptOut"],
    ),
    "SendGrid": (
        SENDGRID, (False, "Orders", None, {"order_number": "12345"}),
        [("tracked", "https://www.example.com/order"), "https://www.example.com/app", "OptOut"],
        [("tracked", "https://www.example.com/order"), "OptOut"],
    ),
    "Mandrill": (
        MANDRILL, (True, "welcome", None, {"user_id": "45829", "location_id": "111"}),
        ["Mirror", ("tracked", "https://www.example.com/"), "https://www.example.com/pay", "OptOut"],
        ["https://www.example.com/"],
    ),
    "SparkPost": (
        SPARKPOST, (False, "sale", "spring-sale", {"binding": "silver"}),
        [("tracked", "https://www.example.com/sale"), "https://www.example.com/app",
         ("opt_out", "https://www.example.com/out")],
        ["https://www.example.com/app", ("opt_out", "https://www.example.com/out")],
    ),
    "SES": (
        SES, (True, None, None, {"campaign": "book", "genre": "fantasy"}),
        ["https://www.example.com/private", ("tracked", "https://www.example.com/book")], [],
    ),
    "Postal": (
        POSTAL, (True, None, None, {}),
        ["https://www.example.com/private", ("tracked", "https://www.example.com/book")], [],
    ),
    "Adobe": (
        ADOBE, (True, None, None, {}),
        [("tracked", "https://www.example.com/"), ("opt_out", "https://www.example.com/out"),
         ("mirror", "https://www.example.com/web"), "https://www.example.com/reset"], [],
    ),
    "Mautic": (MAUTIC, (True, None, None, {}), ["https://www.example.com/"], []),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_mail_for_another_service_works_unchanged(name):
    raw, (pixel, tag, mailing, metadata), hrefs, urls = CASES[name]
    found, mail = handed_over(raw)
    assert found.notes == ()
    assert bodies(mail) == (hrefs, urls)
    assert (found.scan.pixels, found.profile.tag, found.profile.mailing, found.profile.metadata) == (
        pixel, tag, mailing, metadata,
    )  # fmt: skip
    left = [header for header in mail if header.startswith("X-")]
    assert left == (["X-SES-CONFIGURATION-SET"] if name == "SES" else [])


@pytest.mark.parametrize("name", CASES)
def test_without_honor_vendor_headers_every_header_stays(name):
    raw = CASES[name][0]
    found, mail = handed_over(raw, honor_vendor_headers=False, open_tracking=False)
    before = email.message_from_string(raw, policy=email.policy.default)
    assert mail.keys() == before.keys()
    assert (found.profile.tag, found.profile.mailing, found.profile.metadata) == (None, None, {})


def test_labels():
    assert [handed_over(mail)[0].links[0].label for mail in (ADOBE, SPARKPOST)] == ["Shop", "Sale"]


@pytest.mark.parametrize("name", ["Mailgun", "Postmark", "SendGrid", "Mandrill", "SparkPost"])
def test_what_is_sent_through_the_service_itself_keeps_its_headers(name):
    raw = CASES[name][0]
    found, mail = handed_over(raw, keeps=name)
    assert mail.keys() == email.message_from_string(raw, policy=email.policy.default).keys()
    assert bodies(mail) == CASES[name][2:]
    others = {header for each in set(CASES) - {name} for header in handed_over(CASES[each][0], keeps=name)[1]}
    assert {header for header in others if header.startswith("X-")} == {"X-SES-CONFIGURATION-SET"}
    assert found.profile.tag == CASES[name][1][1]


@pytest.mark.parametrize("name", ["Mailgun", "Postmark", "SendGrid", "Mandrill"])
def test_a_placeholder_makes_it_marketing(name):
    assert handed_over(CASES[name][0])[0].category == "marketing"
    assert handed_over(CASES[name][0], category="transactional")[0].category == "transactional"
    assert handed_over(SES)[0].category == "transactional"
