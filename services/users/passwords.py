"""Passwords as Argon2id hashes, computed beside the event loop and few at a time."""

import asyncio
import secrets
from dataclasses import dataclass

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from pydantic import SecretStr


@dataclass(frozen=True)
class PasswordCheck:
    """`new_hash` is there when a right password's hash was made with parameters of the past."""

    is_right: bool
    new_hash: str | None = None


class Passwords:
    """Argon2id with 19 MiB, two passes and one lane. Source: OWASP Password Storage Cheat Sheet."""

    def __init__(self, *, concurrency: int) -> None:
        self._hasher = PasswordHash((Argon2Hasher(time_cost=2, memory_cost=19 * 1024, parallelism=1),))
        self._nobodys_hash = self._hasher.hash(secrets.token_urlsafe())
        # Unbounded, a burst of sign-ins would take every core from the requests.
        self._slots = asyncio.Semaphore(concurrency)

    async def hash(self, password: SecretStr) -> str:
        async with self._slots:
            return await asyncio.to_thread(self._hasher.hash, password.get_secret_value())

    async def verify(self, password: SecretStr, *, stored_hash: str | None) -> PasswordCheck:
        """Without a hash it is wrong, after the same work: the time must not tell whether an account exists."""
        async with self._slots:
            return await asyncio.to_thread(self._verify, password.get_secret_value(), stored_hash)

    def _verify(self, password: str, stored_hash: str | None) -> PasswordCheck:
        if stored_hash is None:
            self._hasher.verify(password, self._nobodys_hash)
            return PasswordCheck(is_right=False)
        is_right, new_hash = self._hasher.verify_and_update(password, stored_hash)
        return PasswordCheck(is_right, new_hash)
