"""The keys that mail is signed with as it leaves (DKIM): read from their files, refused with a reason that helps."""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tracker.errors import TracepostError

SHORTEST = 2048
"""Bits of an RSA key (RFC 8301 section 3.2)."""


class DkimKeyError(TracepostError):
    """A key cannot be used for signing."""


def read_key(path: Path) -> RSAPrivateKey | Ed25519PrivateKey:
    """The private key in a PEM file: RSA of at least ``SHORTEST`` bits, or Ed25519. Raises DkimKeyError."""
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except FileNotFoundError as error:
        raise DkimKeyError(f"{path}: no such file") from error
    except OSError as error:
        raise DkimKeyError(f"{path}: {error.strerror}") from error
    except TypeError as error:
        raise DkimKeyError(f"{path}: is encrypted; it must be readable without a password") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise DkimKeyError(f"{path}: holds no private key in PEM that can be read") from error
    if isinstance(key, RSAPrivateKey):
        if key.key_size < SHORTEST:
            raise DkimKeyError(f"{path}: is an RSA key of {key.key_size} bits; it must have {SHORTEST} or more")
        return key
    if isinstance(key, Ed25519PrivateKey):
        return key
    raise DkimKeyError(f"{path}: must be an RSA or Ed25519 key; DKIM knows no other")
