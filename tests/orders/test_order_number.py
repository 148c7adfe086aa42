"""Order numbers are unique, and their check character detects typing errors."""

from hypothesis import given
from hypothesis import strategies as st

from services.orders.order_number import ALPHABET, NUMBERS, is_order_number, order_number

sequences = st.integers(min_value=1, max_value=NUMBERS - 1)


@given(sequences, sequences)
def test_two_orders_never_share_a_number(one: int, other: int) -> None:
    assert (order_number(one) == order_number(other)) == (one == other)


@given(sequences)
def test_neighbours_do_not_look_alike(sequence: int) -> None:
    assert order_number(sequence)[2:5] != order_number(sequence + 1)[2:5]


@given(sequences, st.integers(2, 9), st.sampled_from(ALPHABET))
def test_one_wrong_character_is_detected(sequence: int, place: int, character: str) -> None:
    number = order_number(sequence)
    mistyped = number[:place] + character + number[place + 1 :]
    assert is_order_number(mistyped) == (mistyped == number)


@given(sequences, st.integers(2, 8))
def test_two_swapped_neighbours_are_detected(sequence: int, place: int) -> None:
    number = order_number(sequence)
    swapped = number[:place] + number[place + 1] + number[place] + number[place + 2 :]
    assert is_order_number(swapped) == (swapped == number)


def test_other_texts_are_not_order_numbers() -> None:
    number = order_number(1)
    for text in ("", "O-", number[2:], number + "2", number.lower(), f"X{number[1:]}"):
        assert not is_order_number(text)
