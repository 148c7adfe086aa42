"""Secret tokens that clients keep, and that the database has as hashes only: of devices, mailed links and sessions."""

import hashlib
import secrets
from dataclasses import dataclass


@dataclass(frozen=True)
class NewToken:
    """A new token and its hash. The hash is stored, the token is sent."""

    token: str
    token_hash: bytes


def new_token() -> NewToken:
    """Return a random token of 256 bits."""
    token = secrets.token_urlsafe(32)
    return NewToken(token, hash_of(token))


def hash_of(token: str) -> bytes:
    """Return what is stored of a token. SHA-256 without a salt is enough: 256 random bits can't be guessed."""
    return hashlib.sha256(token.encode()).digest()
