"""Refresh tokens: random, stored hashed, used once; and what lets the same request get the same answer twice."""

import hashlib
import secrets
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_NONCE_BYTES = 12


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


def seal(successor: str, *, predecessor: str) -> bytes:
    """Encrypt a token so that only who has its predecessor can read it: the database knows both as hashes only."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + AESGCM(_key_of(predecessor)).encrypt(nonce, successor.encode(), None)


def unseal(sealed: bytes, *, predecessor: str) -> str | None:
    """Return the sealed token; None if it was sealed for another predecessor or damaged."""
    nonce, content = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
    try:
        return AESGCM(_key_of(predecessor)).decrypt(nonce, content, None).decode()
    except InvalidTag:
        return None


def _key_of(token: str) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"orderly: successor of a refresh token").derive(
        token.encode()
    )
