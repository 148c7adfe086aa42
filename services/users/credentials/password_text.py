"""The text of a password: normalized before it is measured, hashed or verified."""

import unicodedata

from pydantic_core import PydanticCustomError

MIN_NEW_PASSWORD_LENGTH = 10
MAX_PASSWORD_LENGTH = 128
"""Code points after normalization."""
MAX_TYPED_LENGTH = 4 * MAX_PASSWORD_LENGTH
"""Code points before normalization, which composes four at most into one. Bounds its cost, which is quadratic in a run
of combining characters."""


def normalized(password: str) -> str:
    """Return the text that is hashed: RFC 8265 (OpaqueString), which NIST SP 800-63B-4 (3.1.1.2) agrees with.

    Spaces of other kinds become U+0020, and then NFC composes the characters. Keyboards and operating systems differ in
    both. Case and width stay, because users choose them.
    """
    spaced = "".join(" " if unicodedata.category(character) == "Zs" else character for character in password)
    return unicodedata.normalize("NFC", spaced)


def check_typed(password: str) -> str:
    """Return the normalized text of a password that somebody signs in with. Raises: PydanticCustomError."""
    if len(password) > MAX_TYPED_LENGTH:
        raise _too_long()
    text = normalized(password)
    if not text:
        raise _too_short(1)
    if len(text) > MAX_PASSWORD_LENGTH:
        raise _too_long()
    return text


def check_new(password: str) -> str:
    """Return the normalized text of a password that somebody chooses. Raises: PydanticCustomError.

    Characters that may be normalized differently by a later version of Unicode, and those that keyboards can't type,
    would lock their user out.
    """
    text = check_typed(password)
    if len(text) < MIN_NEW_PASSWORD_LENGTH:
        raise _too_short(MIN_NEW_PASSWORD_LENGTH)
    if any(unicodedata.category(character) in {"Cc", "Cn"} for character in text):
        raise PydanticCustomError(
            "password_character", "Password should have no control characters and no unassigned code points"
        )
    return text


def _too_short(minimum: int) -> PydanticCustomError:
    return PydanticCustomError(
        "too_short", "Value should have at least {min_length} characters", {"min_length": minimum}
    )


def _too_long() -> PydanticCustomError:
    return PydanticCustomError(
        "too_long", "Value should have at most {max_length} characters", {"max_length": MAX_PASSWORD_LENGTH}
    )
