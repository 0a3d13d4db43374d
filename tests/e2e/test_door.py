"""The running service with its door locked: by TLS and a password, or not at all."""

from __future__ import annotations

import smtplib
import ssl

import pytest
import trustme

from relay.passwords import hash_password
from tests.e2e.harness import eventually, tracepost

MAIL = 'From: news@example.com\r\nContent-Type: text/html\r\n\r\n<a href="https://example.org/">x</a>\r\n'


@pytest.mark.parametrize("mode", ["starttls", "implicit"])
def test_a_mail_from_a_user_by_tls_is_tracked_and_sent(tmp_path, mode):
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    relay = (
        f"allow_networks: ['10.0.0.0/8']\ntls: {{certificate: both.pem, key: both.pem, mode: {mode}}}\n"
        f"auth: {{users: {{shop: {{hash: '{hash_password('secret word')}', senders: ['*@example.com']}}}}}}\n"
    )
    with tracepost(tmp_path, relay=relay) as service:
        if mode == "implicit":
            smtp: smtplib.SMTP = smtplib.SMTP_SSL("localhost", service.smtp_port, timeout=10, context=context)
        else:
            smtp = smtplib.SMTP("localhost", service.smtp_port, timeout=10)
            smtp.starttls(context=context)
        with smtp:
            with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
                smtp.sendmail("news@example.com", ["ann@example.net"], MAIL)
            assert refused.value.recipients["ann@example.net"][0] == 530
            smtp.login("shop", "secret word")
            smtp.sendmail("news@example.com", ["ann@example.net"], MAIL)
        (kept,) = eventually(lambda: list((tmp_path / "data" / "sandbox").glob("[!.]*.eml")))
    content = kept.read_bytes()
    assert b" with ESMTPSA id " in content
    assert b'href="http://track.test/c/' in content
    assert "Traceback" not in (tmp_path / "log").read_text()
