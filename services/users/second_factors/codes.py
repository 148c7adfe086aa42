"""Time-based one-time passwords (RFC 6238): six digits of HMAC-SHA-1, a new code every 30 seconds."""

from dataclasses import dataclass
from datetime import timedelta

import pyotp
from pyotp.utils import strings_equal

from services.users.encryption import Encryption

ISSUER = "Orderly"
"""The name that an authenticator app shows beside the account."""
STEP_SECONDS = 30
TOLERATED_STEPS = (-1, 0, 1)
"""A code of the step before or after is accepted too, for clocks that differ. More would help guessing."""
MAX_WRONG_CODES = 5
"""Wrong codes in a row without a delay."""
INITIAL_DELAY = timedelta(seconds=10)
"""Delay after the last wrong code without one; doubles with each further wrong code."""
MAX_DELAY = timedelta(minutes=15)
"""Guessing takes years with one guess per 15 minutes, as three codes of a million are accepted."""


@dataclass(frozen=True)
class Secret:
    """A new secret, and how an authenticator app takes it: typed, or as a QR code of the URI."""

    text: str
    uri: str
    encrypted: str


def new_secret(*, account_name: str, encryption: Encryption) -> Secret:
    """Return a new secret of 160 bits."""
    text = pyotp.random_base32()
    uri = pyotp.TOTP(text, interval=STEP_SECONDS).provisioning_uri(name=account_name, issuer_name=ISSUER)
    return Secret(text, uri, encryption.encrypt(text.encode()))


def matching_step(secret: str, code: str, *, at: float, after: int | None) -> int | None:
    """Return the time step whose code this is, or None if there is none.

    `at`: the present time. `after`: the step of the last accepted code; no code of it or of an earlier step matches.
    """
    totp = pyotp.TOTP(secret, interval=STEP_SECONDS)
    present = int(at) // STEP_SECONDS
    # Every step is compared, so that the time does not tell which one matched.
    matching = [
        step
        for step in (present + offset for offset in TOLERATED_STEPS)
        if strings_equal(totp.generate_otp(step), code) and (after is None or step > after)
    ]
    return matching[0] if matching else None


def delay_after(wrong_codes: int) -> timedelta:
    """Return how long no code is checked after so many wrong ones in a row."""
    if wrong_codes < MAX_WRONG_CODES:
        return timedelta(0)
    return min(MAX_DELAY, INITIAL_DELAY * (1 << min(wrong_codes - MAX_WRONG_CODES, 16)))
