"""Each rule about effects and limits finds a history that violates it, and accepts one that nearly does."""

import pytest

from tests.chaos.histories import checker
from tests.chaos.histories.hand_written import LAMP, ME, ORDER, change, limit, order, request, state, violations
from tests.chaos.histories.history import FinalState, Request, TimelineEntry


@pytest.mark.parametrize(
    ("made", "final", "is_missing"),
    [
        (order(1, 2), state(), True),
        (order(1, 2), state("1"), False),
        (order(1, 2, None), state(), False),
        (change(1, 2, 10), state("1", name="new"), True),  # the final version is 9
        (change(1, 2, 8), state(name="newer"), True),
        (change(1, 2, 8), state(name="newer", names=("new", "newer")), False),
        (request("POST", f"{ORDER}/cancel", 1, 2, version=2), state("1"), True),
        (
            request("POST", f"{ORDER}/cancel", 1, 2, version=2),
            state("1", timeline=(TimelineEntry("cancelled"),)),
            False,
        ),
        (request("POST", f"{ORDER}/refunds", 1, 2, 201, version=2, sent={"amount_cents": 5}), state("1"), True),
        (
            request("POST", f"{ORDER}/refunds", 1, 2, 201, version=2, sent={"amount_cents": 5}),
            state("1", timeline=(TimelineEntry("delivered", 5),)),
            False,
        ),
    ],
)
def test_every_acknowledged_change_is_there_in_the_end(made: Request, final: FinalState, is_missing: bool) -> None:
    assert violations(made, final=final) == ({checker.CHANGES_STAY} if is_missing else set())


@pytest.mark.parametrize(
    ("first", "second", "is_missing"),
    [
        (limit(1, 2, 1_000), limit(3, 4, 2_000), True),  # the second one was the last
        (limit(1, 3, 1_000), limit(2, 4, 2_000), False),  # either may have been the last
        (limit(1, 2, 1_000), limit(3, 4, 2_000, None), False),
        (limit(1, 2, 1_000, None), limit(3, 4, 2_000), False),  # may have been carried out late
    ],
)
def test_the_credit_limit_is_that_of_a_last_change(first: Request, second: Request, is_missing: bool) -> None:
    assert violations(first, second, final=state(limit_cents=1_000)) == (
        {checker.CHANGES_STAY} if is_missing else set()
    )


def test_the_answers_of_a_key_agree() -> None:
    both = state("1", "2")
    assert violations(order(1, 2), order(1, 2, order_id="2"), final=both) == {checker.ONE_ANSWER_PER_KEY}
    assert violations(order(1, 2), order(3, 4, is_replayed=True)) == set()


@pytest.mark.parametrize(
    ("began", "status", "code", "disagrees"),
    [
        (2.1, 409, "out_of_stock", True),
        (1.9, 409, "out_of_stock", False),  # it may have been decided before the other one
        (2.1, 409, "idempotency_key_in_use", False),
        (2.1, 429, "rate_limited", False),
        (2.1, 401, "token_expired", False),
        (2.1, 422, "idempotency_key_reused", True),
        (2.1, 503, "database_unavailable", False),
    ],
)
def test_a_key_that_has_succeeded_gets_no_other_answer(began: float, status: int, code: str, disagrees: bool) -> None:
    found = violations(order(1, 2), order(began, 3, status, code=code))
    assert found == ({checker.ONE_ANSWER_PER_KEY} if disagrees else set())


def test_a_key_has_one_effect() -> None:
    both = state("1", "2")
    assert violations(order(1, 2), final=both) == {checker.ONE_EFFECT_PER_KEY}
    assert violations(order(1, 2, None), order(3, 4, order_id="2"), final=both) == {checker.ONE_EFFECT_PER_KEY}
    # A request without a key, and without an answer, may explain it.
    assert violations(order(1, 2), request("POST", "/v1/orders", 1, 2, None), final=both) == set()


def test_a_key_refunds_once() -> None:
    refund = request("POST", f"{ORDER}/refunds", 1, 2, 201, key="r", version=2, sent={"amount_cents": 5})
    twice = (TimelineEntry("delivered", 5), TimelineEntry("delivered", 5))
    assert violations(refund, final=state("1", timeline=twice)) == {checker.ONE_EFFECT_PER_KEY}
    assert violations(refund, final=state("1", timeline=twice[:1])) == set()


def test_what_a_sample_has_found_is_a_violation() -> None:
    assert violations(samples=["user ada: 1,100 of 1,000 cents"]) == {checker.NEVER_EXCEEDED}


@pytest.mark.parametrize(("reserved", "is_exceeded"), [(600, False), (601, True), (-1, True)])
def test_no_answer_shows_more_credit_than_there_is(reserved: int, is_exceeded: bool) -> None:
    credit = {"limit_cents": 1_000, "reserved_cents": reserved, "used_cents": 400}
    found = violations(request("GET", f"{ME}/credit", 1, 2, body=credit))
    assert found == ({checker.ANSWERS_IN_LIMITS} if is_exceeded else set())


@pytest.mark.parametrize(("available", "is_exceeded"), [(0, False), (5, False), (-1, True), (6, True)])
def test_no_answer_shows_more_stock_than_there_is(available: int, is_exceeded: bool) -> None:
    found = violations(request("GET", LAMP, 1, 2, version=9, body={"stock": 5, "available": available}))
    assert found == ({checker.ANSWERS_IN_LIMITS} if is_exceeded else set())


@pytest.mark.parametrize(
    ("credit", "is_exceeded"),
    [
        ((("1", 600, 0), ("2", 400, 0)), False),
        ((("1", 600, 0), ("2", 401, 0)), True),
        ((("1", 600, 0), ("2", 401, 0), ("1", -600, 0)), True),  # within the limit in the end only
        ((("1", 600, 0), ("1", -600, 0), ("2", 1_000, 0)), False),
        ((("1", 600, 0), ("2", 401, 1)), False),  # a refund may explain it
        ((("1", 600, 0), ("1", -601, 0)), True),
    ],
)
def test_the_credit_held_stays_within_the_limit_at_every_event(
    credit: tuple[tuple[str, int, int], ...], is_exceeded: bool
) -> None:
    found = violations(limit(1, 2, 1_000), final=state(limit_cents=1_000, credit=credit))
    assert found == ({checker.EVENTS_IN_LIMITS} if is_exceeded else set())
