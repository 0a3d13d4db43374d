"""Keys are read with a reason that helps, put to use by sender, and read again; no mail is lost over them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as ec_key
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as rsa_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from relay.config import Config, Dkim, SenderConfig
from relay.dkim import DkimKeyError, read_key
from relay.rewriting import signature
from relay.settings import Settings
from relay.signing import signers_of
from tests.verifiers import ED25519, RSA, Published, pem
from tracker.tokens import KEY_BYTES, Keyring

MAIL = b"From: a@example.com\r\n\r\nx\r\n"
AT = 1_790_000_000.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rsa.pem").write_bytes(pem(RSA))
    (tmp_path / "ed25519.pem").write_bytes(pem(ED25519))
    return tmp_path


def sender(match: str, folder: Path, key: str) -> SenderConfig:
    return SenderConfig(match=match, dkim=Dkim(domain=f"{key}.test", selector="s", key_file=folder / f"{key}.pem"))


PUBLISHED = Published({("rsa.test", "s"): RSA, ("ed25519.test", "s"): ED25519})


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"", "holds no private key in PEM"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "holds no private key in PEM"),
        (RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), "holds no private key"),
        (
            RSA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")),
            "is encrypted; it must be readable without a password",
        ),
        (pem(rsa_key(65537, 1024)), "is an RSA key of 1024 bits; it must have 2048 or more"),
        (pem(ec_key(SECP256R1())), "must be an RSA or Ed25519 key"),
    ],
)
def test_a_key_that_cannot_be_used_says_why(tmp_path, octets, reason):
    file = tmp_path / "key.pem"
    file.write_bytes(octets)
    with pytest.raises(DkimKeyError, match=reason) as caught:
        read_key(file)
    assert str(file) in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_file_that_cannot_be_read_says_why(tmp_path):
    with pytest.raises(DkimKeyError, match="no such file"):
        read_key(tmp_path / "none.pem")
    with pytest.raises(DkimKeyError, match="Is a directory"):
        read_key(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_file_of_somebody_else_says_so(folder):
    (folder / "rsa.pem").chmod(0o600)
    script = f"from pathlib import Path; from relay.dkim import read_key; read_key(Path({str(folder / 'rsa.pem')!r}))"
    # the folder of a test is its owner's alone
    for each in (folder, *folder.parents[:2]):
        each.chmod(0o755)
    environ = {"PYTHONPATH": str(Path(__file__).parents[1])}
    command = ["setpriv", "--reuid=65534", "--clear-groups", "--inh-caps=-all"]
    said = subprocess.run([*command, sys.executable, "-c", script], capture_output=True, text=True, env=environ)
    assert "Permission denied" in said.stderr


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_both_forms_of_a_key_in_pem_are_read(tmp_path, form):
    file = tmp_path / "key.pem"
    file.write_bytes(RSA.private_bytes(Encoding.PEM, form, NoEncryption()))
    assert read_key(file).private_numbers() == RSA.private_numbers()


def test_keys_that_openssl_makes_are_read(tmp_path):
    for arguments in (["-algorithm", "ed25519"], ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]):
        file = tmp_path / "key.pem"
        subprocess.run(["openssl", "genpkey", *arguments, "-out", file], check=True, capture_output=True)
        read_key(file)


def test_each_sender_has_a_signer_and_the_first_of_equal_entries_counts(folder):
    senders = [sender("a@*", folder, "rsa"), sender("b@*", folder, "ed25519"), sender("a@*", folder, "ed25519")]
    plain = SenderConfig(match="c@*")
    signers = signers_of(Config(senders=(*senders, plain)))
    assert set(signers) == {"a@*", "b@*"}
    assert signers["a@*"].identity.domain == "rsa.test"
    for signer in signers.values():
        assert PUBLISHED.dkimpy(signer(MAIL, AT))
    assert not signers_of(Config(senders=(plain, sender("c@*", folder, "rsa"))))


def test_what_cannot_be_signed_is_no_mishap(folder, monkeypatch, capsys):
    signer = signers_of(Config(senders=(sender("a@*", folder, "rsa"),)))["a@*"]
    assert signer(b"Subject: secret\r\n\r\nx\r\n", AT) is None
    monkeypatch.setattr("relay.signing.sign", lambda *_: 1 // 0)
    assert signer(MAIL, AT) is None
    said = capsys.readouterr().out
    assert "it has no From" in said
    assert "ZeroDivisionError" in said
    assert "secret" not in said


def test_keys_are_read_again_with_the_configuration_and_a_bad_one_changes_nothing(folder):
    def settings(signs: bool) -> Settings:
        config = Config(data_dir=folder, senders=(sender("a@*", folder, "rsa"),))
        return Settings(config, Keyring([bytes(KEY_BYTES)]), "relay.test", signs)

    kept = settings(signs=True)
    (folder / "rsa.pem").write_bytes(pem(ED25519))
    before = kept.config
    assert kept.signers["a@*"].identity.key.private_numbers() == RSA.private_numbers()
    kept.replace(before)
    assert isinstance(kept.signers["a@*"].identity.key, signature.Ed25519PrivateKey)
    (folder / "rsa.pem").unlink()
    with pytest.raises(DkimKeyError):
        kept.replace(before.model_copy())
    assert kept.config is before
    assert set(kept.signers) == {"a@*"}
    with pytest.raises(DkimKeyError):
        settings(signs=True)
    assert not settings(signs=False).signers
