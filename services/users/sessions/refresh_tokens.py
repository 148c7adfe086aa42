"""Refresh tokens: what lets the same request get the same successor twice, although only hashes are stored."""

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_NONCE_BYTES = 12


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
