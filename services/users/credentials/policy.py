"""The policy for new passwords: not known from breaches, and not easily guessed."""

from collections.abc import Iterable, Iterator

from pydantic import SecretStr
from zxcvbn_rs_py import Entropy, zxcvbn

from services.users.credentials.breached_passwords import BreachedPasswords
from services.users.credentials.password_text import normalized
from shared.errors import Problem

MAX_ESTIMATED_LENGTH = 24
"""Code points that are estimated at once. The estimate holds Python's lock, and its time grows with the cube of the
length: 24 take 13 ms at worst and usually 0.3 ms; 48 take 90 ms, 128 half a second."""
MAX_BREACHED_GUESSES_LOG10 = 14
"""Magnitude of guesses from which the filter is not asked. 96 % of its passwords are below, and all that are random are
above, which it would refuse by mistake once in 800 times."""
MIN_PERSONAL_LENGTH = 3
MAX_PERSONAL_LENGTH = 64
"""Bounds of the words that a user's own data adds to the dictionary."""


class PasswordBreached(Problem):
    """The password is known from breaches of other services."""

    status = 422
    code = "password_breached"

    def __init__(self) -> None:
        super().__init__("Attackers try such passwords first. Choose one that you use nowhere else.")


class PasswordWeak(Problem):
    """The password is easy to guess."""

    status = 422
    code = "password_weak"


PASSWORD_PROBLEMS = (PasswordBreached, PasswordWeak)
"""The problems of a route that sets a password."""


class PasswordPolicy:
    """Judges new passwords. Length and characters are the business of the field `NewPassword`."""

    def __init__(self, breached: BreachedPasswords, *, min_strength: int) -> None:
        """Require at least `min_strength` of zxcvbn's scores: 3 means 10^8 guesses or more, 4 means 10^10."""
        self._breached = breached
        self._min_strength = min_strength
        zxcvbn("")  # builds its dictionaries, which takes 12 ms, now instead of in a request

    def check(self, password: SecretStr, *, personal: Iterable[str]) -> None:
        """Raise PasswordBreached or PasswordWeak. `personal`: the user's e-mail address, name and the like."""
        text = normalized(password.get_secret_value())
        words = list(dict.fromkeys(_words(personal)))
        # A part of a password is never harder to guess than the whole.
        parts = dict.fromkeys((text[:MAX_ESTIMATED_LENGTH], text[-MAX_ESTIMATED_LENGTH:]))
        strongest = max((zxcvbn(part, words) for part in parts), key=lambda estimate: estimate.guesses_log10)
        if strongest.guesses_log10 < MAX_BREACHED_GUESSES_LOG10 and text in self._breached:
            raise PasswordBreached
        if int(strongest.score) < self._min_strength:
            raise PasswordWeak(_advice(strongest))


def _words(personal: Iterable[str]) -> Iterator[str]:
    """Yield each text as a whole, and its parts between spaces and the signs of an e-mail address."""
    for text in personal:
        lowered = normalized(text).lower()
        for word in (lowered, *lowered.translate(str.maketrans("@.-_+'", "      ")).split()):
            if MIN_PERSONAL_LENGTH <= len(word) <= MAX_PERSONAL_LENGTH:
                yield word


def _advice(estimate: Entropy) -> str:
    """Say what to do, in words that hold nothing of the password."""
    feedback = estimate.feedback
    found = [] if feedback is None else [feedback.warning, *feedback.suggestions]
    sentences = [str(each).rstrip(".") for each in found if each is not None]
    return ". ".join(["Use several uncommon words, or let a password manager make the password", *sentences]) + "."
