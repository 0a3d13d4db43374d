"""Two independent readers of DKIM signatures, dkimpy and OpenDKIM, and keys for them with no DNS."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from relay.rewriting.signature import Identity, Key

OPENDKIM = shutil.which("opendkim", path="/usr/sbin:/usr/bin:/usr/local/sbin")
RSA: Key = generate_private_key(65537, 2048)
ED25519: Key = Ed25519PrivateKey.generate()


@dataclass(frozen=True)
class Published:
    """Keys by domain and selector, as the DNS would have them."""

    keys: dict[tuple[str, str], Key]

    def identity(self, domain: str, selector: str) -> Identity:
        return Identity(domain, selector, self.keys[domain, selector])

    def records(self) -> dict[str, str]:
        return {f"{selector}._domainkey.{domain}": record(key) for (domain, selector), key in self.keys.items()}

    def dkimpy(self, mail: bytes, number: int = 0) -> bool:
        """Whether the signature of that number, from the top, holds for dkimpy."""
        records = self.records()
        try:
            return dkim.DKIM(mail, minkey=1024).verify(
                number, dnsfunc=lambda name, timeout=5: records.get(name.decode().rstrip("."), "").encode()
            )
        except dkim.DKIMException:
            return False

    def opendkim(self, mail: bytes, folder: Path) -> list[tuple[str, str]]:
        """Result and domain of each signature, as OpenDKIM sees them."""
        if OPENDKIM is None:
            pytest.skip("opendkim is not installed")
        (folder / "mail.eml").write_bytes(mail)
        (folder / "keys").write_text("".join(f"{name} {value}\n" for name, value in self.records().items()))
        (folder / "opendkim.conf").write_text(f"TestPublicKeys {folder}/keys\nMode v\nSyslog no\n")
        command = [OPENDKIM, "-x", str(folder / "opendkim.conf"), "-vvv", "-t", str(folder / "mail.eml")]
        said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
        return re.findall(r"dkim=(\w+) .*?header\.d=([\w.-]+)", said)


def record(key: Key) -> str:
    """The TXT record of a key (RFC 6376 section 3.6.1, RFC 8463 section 4)."""
    public = key.public_key()
    if isinstance(key, RSAPrivateKey):
        octets = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return f"v=DKIM1; k=rsa; p={base64.b64encode(octets).decode()}"
    octets = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return f"v=DKIM1; k=ed25519; p={base64.b64encode(octets).decode()}"


def pem(key: Key) -> bytes:
    """A key as it stands in a file."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def signed_headers(mail: bytes) -> list[str]:
    """What the topmost signature names in h=."""
    found = re.match(rb"DKIM-Signature:.*?h=([^;]*);", mail, re.DOTALL)
    assert found
    return [name.strip().decode() for name in found[1].split(b":")]
