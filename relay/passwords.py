"""Passwords of those who may authenticate: kept as Argon2 hashes (RFC 9106), with the modest cost that OWASP asks for:
19 MiB, two passes, one lane."""

from __future__ import annotations

import argon2

_HASHER = argon2.PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


def hash_password(password: str) -> str:
    """A new hash, for ``relay.auth.users``."""
    return _HASHER.hash(password)


def is_hash(text: str) -> bool:
    """Whether this can be a hash of a password, and not the password itself."""
    try:
        return argon2.extract_parameters(text).hash_len > 0
    except (argon2.exceptions.InvalidHashError, ValueError):
        return False


def matches(hash: str, password: str) -> bool:
    """Whether the password is the one of the hash; takes 30 ms and 19 MiB. Raises Argon2Error for a broken hash."""
    try:
        return _HASHER.verify(hash, password)
    except argon2.exceptions.VerifyMismatchError:
        return False
