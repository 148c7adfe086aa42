"""Client errors: title, detail, members and headers."""

from datetime import timedelta

import pytest

from shared.errors import NotFound, Problem, TooManyRequests, Unauthenticated


class OrderNotFound(NotFound):
    """There is no such order.

    The second paragraph is for developers.
    """

    code = "order_not_found"


class Renamed(OrderNotFound):
    """Ignored, because the title is given."""

    title = "Gone"


def test_the_first_line_of_the_docstring_is_the_title() -> None:
    assert (OrderNotFound.title, OrderNotFound.status, OrderNotFound.code) == (
        "There is no such order",
        404,
        "order_not_found",
    )
    assert Renamed.title == "Gone"


def test_the_message_is_the_detail_or_the_title() -> None:
    assert str(OrderNotFound("Order 7 is not yours.")) == "Order 7 is not yours."
    assert str(OrderNotFound()) == "There is no such order"


def test_problems_do_not_share_members_and_headers() -> None:
    first, second = Problem(extra={"a": 1}), Problem()
    first.extra["b"] = 2
    assert (second.extra, second.headers) == ({}, {})


def test_an_unauthenticated_request_gets_a_challenge() -> None:
    assert Unauthenticated().headers == {"WWW-Authenticate": "Bearer"}


@pytest.mark.parametrize(("seconds", "expected"), [(0.0, "1"), (0.4, "1"), (1.2, "2"), (60.0, "60")])
def test_retry_after_is_whole_seconds_rounded_up(seconds: float, expected: str) -> None:
    assert TooManyRequests(retry_after=timedelta(seconds=seconds)).headers == {"Retry-After": expected}
