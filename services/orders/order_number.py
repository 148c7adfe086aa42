"""Order numbers: short, easy to read out over the telephone, and not consecutive.

A number is `O-` and eight characters: seven encode the sequence's value, scattered over all 29^7 numbers, and the last
one is a check character. Scattering hides from customers how many orders there are. It is no secret, and knowing a
number gives no access.
"""

# 29 characters without look-alikes (0 O, 1 I L, 5 S, U V). 29 is prime, so the check character detects every single
# wrong character and every swap of two neighbours.
ALPHABET = "23456789ABCDEFGHJKMNPQRTVWXYZ"
DIGITS = 7
PREFIX = "O-"
NUMBERS = len(ALPHABET) ** DIGITS

# NUMBERS divided by the golden ratio, so that neighbours are far apart. It is no multiple of 29, so that no two values
# have the same number.
_MULTIPLIER = 10_661_009_860
_OFFSET = 4_815_162_342


def order_number(sequence: int) -> str:
    """Return the order number for a value of the sequence. Unique for the first 17 billion values."""
    scattered = (sequence * _MULTIPLIER + _OFFSET) % NUMBERS
    digits = []
    for _ in range(DIGITS):
        scattered, digit = divmod(scattered, len(ALPHABET))
        digits.append(ALPHABET[digit])
    code = "".join(reversed(digits))
    return f"{PREFIX}{code}{_check_character(code)}"


def is_order_number(text: str) -> bool:
    """Return whether the text has the form of a number and the right check character. Detects typing errors."""
    code = text.removeprefix(PREFIX)
    if not text.startswith(PREFIX) or len(code) != DIGITS + 1 or not set(code) <= set(ALPHABET):
        return False
    return _check_character(code[:-1]) == code[-1]


def _check_character(code: str) -> str:
    weighted = sum(weight * ALPHABET.index(character) for weight, character in enumerate(code, start=2))
    return ALPHABET[-weighted % len(ALPHABET)]
