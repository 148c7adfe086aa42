"""Password hashing with Argon2id, in threads, a few at a time."""

import asyncio
import secrets
from dataclasses import dataclass

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from pydantic import SecretStr


@dataclass(frozen=True)
class PasswordCheck:
    """The outcome of a check. `new_hash` is set if the password is right and its hash has outdated parameters."""

    is_right: bool
    new_hash: str | None = None


class Passwords:
    """Hashes and verifies passwords: 19 MiB, two passes, one lane. Source: OWASP Password Storage Cheat Sheet."""

    def __init__(self, *, concurrency: int) -> None:
        """Hash at most `concurrency` passwords at once. Without a bound, sign-ins would starve other requests."""
        self._hasher = PasswordHash((Argon2Hasher(time_cost=2, memory_cost=19 * 1024, parallelism=1),))
        self._dummy_hash = self._hasher.hash(secrets.token_urlsafe())
        self._slots = asyncio.Semaphore(concurrency)

    async def hash(self, password: SecretStr) -> str:
        """Return the password's hash, with its parameters and its salt."""
        async with self._slots:
            return await asyncio.to_thread(self._hasher.hash, password.get_secret_value())

    async def verify(self, password: SecretStr, *, stored_hash: str | None) -> PasswordCheck:
        """Compare a password with a hash. Without a hash it is wrong, after the same time.

        The time must not reveal whether an account exists.
        """
        async with self._slots:
            return await asyncio.to_thread(self._verify, password.get_secret_value(), stored_hash)

    def _verify(self, password: str, stored_hash: str | None) -> PasswordCheck:
        if stored_hash is None:
            self._hasher.verify(password, self._dummy_hash)
            return PasswordCheck(is_right=False)
        is_right, new_hash = self._hasher.verify_and_update(password, stored_hash)
        return PasswordCheck(is_right, new_hash)
