"""Password hashing with Argon2id, in threads, a few at a time."""

import secrets
from dataclasses import dataclass
from functools import cache

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from pydantic import SecretStr

from services.users.credentials.hashing_queue import HashingQueue, HashingUse
from services.users.credentials.password_text import normalized

DEFAULT_MAX_WAITING = 32
_HASHER = PasswordHash((Argon2Hasher(time_cost=2, memory_cost=19 * 1024, parallelism=1),))


@dataclass(frozen=True)
class PasswordCheck:
    """The outcome of a check. `new_hash` is set if the password is right and its hash has outdated parameters."""

    is_right: bool
    new_hash: str | None = None


class Passwords:
    """Hashes and verifies passwords: 19 MiB, two passes, one lane. Source: OWASP Password Storage Cheat Sheet.

    Both normalize the password first, so that it is the same on every keyboard.
    """

    def __init__(self, *, concurrency: int, max_waiting: int = DEFAULT_MAX_WAITING) -> None:
        """Hash at most `concurrency` passwords at once, while `max_waiting` of each use wait."""
        self._dummy_hash = _dummy_hash()
        self._queue = HashingQueue(concurrency=concurrency, max_waiting=max_waiting)

    def check_capacity(self, use: HashingUse) -> None:
        """Check that a password would not be refused now. Raises: HashingOverloaded."""
        self._queue.check_capacity(use)

    async def hash(self, password: SecretStr, *, use: HashingUse = "sign_up") -> str:
        """Return the password's hash, with its parameters and its salt. Raises: HashingOverloaded."""
        text = normalized(password.get_secret_value())
        return await self._queue.run(use, lambda: _HASHER.hash(text))

    async def verify(
        self, password: SecretStr, *, stored_hash: str | None, use: HashingUse = "sign_in"
    ) -> PasswordCheck:
        """Compare a password with a hash. Without a hash it is wrong, after the same time. Raises: HashingOverloaded.

        The time must not reveal whether an account exists, or has a password.
        """
        text = normalized(password.get_secret_value())
        return await self._queue.run(use, lambda: self._verify(text, stored_hash))

    def _verify(self, password: str, stored_hash: str | None) -> PasswordCheck:
        if stored_hash is None:
            _HASHER.verify(password, self._dummy_hash)
            return PasswordCheck(is_right=False)
        is_right, new_hash = _HASHER.verify_and_update(password, stored_hash)
        return PasswordCheck(is_right, new_hash)


@cache
def _dummy_hash() -> str:
    """Return the hash of a password that nobody knows, one for each process."""
    return _HASHER.hash(secrets.token_urlsafe())
