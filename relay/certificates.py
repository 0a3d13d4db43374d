"""The certificate that clients see: read, checked with a reason that helps, made a TLS context."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from tracker.errors import TracepostError


class CertificateError(TracepostError):
    """A certificate or its key cannot be used; ``key`` is the one that is wrong."""

    def __init__(self, key: Literal["certificate", "key"], sentence: str) -> None:
        super().__init__(sentence)
        self.key = key


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """What a server needs for TLS 1.2 and newer (RFC 8996), from a PEM chain and its key. Raises CertificateError."""
    _check_pair(certificate, key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A client could have us work for it without end.
    context.options |= ssl.OP_NO_RENEGOTIATION
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ValueError) as error:
        raise CertificateError("certificate", f"{certificate}: cannot be used: {error}") from error
    return context


def _check_pair(certificate: Path, key: Path) -> None:
    """Raise CertificateError unless both can be read and belong together."""
    try:
        first = x509.load_pem_x509_certificates(_read("certificate", certificate))[0]
        public = first.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, TypeError, IndexError) as error:
        raise CertificateError("certificate", f"{certificate}: holds no certificate in PEM that can be read") from error
    try:
        private = load_pem_private_key(_read("key", key), None).public_key()
        own = private.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except TypeError as error:
        raise CertificateError("key", f"{key}: is encrypted; it must be readable without a password") from error
    except ValueError as error:
        raise CertificateError("key", f"{key}: holds no private key in PEM that can be read") from error
    if own != public:
        raise CertificateError("key", f"{key}: is not the key of the first certificate in {certificate}")


def _read(key: Literal["certificate", "key"], path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateError(key, f"{path}: {error.strerror}") from error
