"""Order numbers for people: short, said over the telephone without a mix-up, and not simply counted up.

`O-` and eight characters: seven hold the sequence's value, scattered over all 29^7 numbers, and one checks them. The
scattering keeps a customer from reading off how many orders there are; it is no secret, and knowing a number opens
nothing.
"""

# 29 characters without look-alikes (0 O, 1 I L, 5 S, U V). 29 is prime, so the check finds every single wrong
# character and every two that changed places.
ALPHABET = "23456789ABCDEFGHJKMNPQRTVWXYZ"
DIGITS = 7
PREFIX = "O-"
NUMBERS = len(ALPHABET) ** DIGITS

# NUMBERS by the golden ratio, and no multiple of 29: neighbours land far apart, and no two values share a number.
_MULTIPLIER = 10_661_009_860
_OFFSET = 4_815_162_342


def order_number(sequence: int) -> str:
    """The number of the order with this value of the sequence; unique for the first 17 billion of them."""
    rest = (sequence * _MULTIPLIER + _OFFSET) % NUMBERS
    digits = []
    for _ in range(DIGITS):
        rest, digit = divmod(rest, len(ALPHABET))
        digits.append(ALPHABET[digit])
    code = "".join(reversed(digits))
    return f"{PREFIX}{code}{_check_character(code)}"


def is_order_number(text: str) -> bool:
    """Whether the text can be a number that was given out: a slip of the pen is told without a look-up."""
    code = text.removeprefix(PREFIX)
    if not text.startswith(PREFIX) or len(code) != DIGITS + 1 or not set(code) <= set(ALPHABET):
        return False
    return _check_character(code[:-1]) == code[-1]


def _check_character(code: str) -> str:
    weighted = sum(weight * ALPHABET.index(character) for weight, character in enumerate(code, start=2))
    return ALPHABET[-weighted % len(ALPHABET)]
