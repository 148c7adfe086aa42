"""Each rule about versions finds a history that violates it, and accepts one that nearly does."""

import pytest

from tests.chaos.histories import checker
from tests.chaos.histories.hand_written import CACHE_SECONDS, LAMP, ME, ORDER, change, order, request, state, violations
from tests.chaos.histories.history import FinalState, Interval, Request, Resource, TimelineEntry

READ_OF_OLD = request("GET", ME, 2.1, 3, version=1)


@pytest.mark.parametrize(
    ("read", "is_stale"),
    [
        (READ_OF_OLD, True),
        (request("GET", ME, 1.9, 3, version=1), False),  # began before the answer
        (request("GET", ME, 2.1, 3, version=2), False),
        (request("GET", ME, 2.1, 3, version=3), False),
        (request("GET", ME, 2.1, 3, 404, code="user_not_found"), True),
        (request("GET", ME, 2.1, 3, 404, code="status_404"), False),  # a gateway without routes
        (request("GET", ME, 2.1, 3, 503, code="database_unavailable"), False),
        (request("GET", ME, 2.1, 3, None), False),
    ],
)
def test_a_read_after_an_acknowledged_change_sees_it(read: Request, is_stale: bool) -> None:
    assert violations(change(1, 2, 2), read) == ({checker.READS_SEE_CHANGES} if is_stale else set())


def test_a_read_need_not_see_a_change_without_an_answer() -> None:
    assert violations(request("PATCH", ME, 1, 2, None, if_match=1), READ_OF_OLD) == set()


@pytest.mark.parametrize(
    ("outage", "read_at", "is_stale"),
    [
        (None, 3.0, True),
        (Interval(1.5, 1.6), 3.0, False),
        (Interval(1.5, 1.6), 2.0 + CACHE_SECONDS + 0.1, True),  # the old value has expired
        (Interval(2.1, 2.2), 3.0, True),  # the change had invalidated it before
    ],
)
def test_a_product_may_be_outdated_after_a_change_without_the_cache_until_its_value_expires(
    outage: Interval | None, read_at: float, is_stale: bool
) -> None:
    final = state(names=("new",))
    final = FinalState(**{**vars(final), "fields": {Resource("products", "LAMP"): {"name": "new"}}})
    found = violations(
        change(1, 2, 2, LAMP),
        request("GET", LAMP, read_at, read_at + 0.1, version=1),
        final=final,
        cache_outages=[outage] if outage else [],
    )
    assert found == ({checker.READS_SEE_CHANGES} if is_stale else set())


def test_an_outage_of_the_cache_excuses_no_read_of_a_user() -> None:
    found = violations(change(1, 2, 2), READ_OF_OLD, cache_outages=[Interval(0, 9)])
    assert found == {checker.READS_SEE_CHANGES}


@pytest.mark.parametrize(("began", "is_missing"), [(2.1, True), (1.9, False)])
def test_a_complete_list_has_the_orders_acknowledged_before(began: float, is_missing: bool) -> None:
    listed = {"ids": ["2"], "is_complete": True}
    found = violations(order(1, 2), request("GET", "/v1/orders", began, 3, body=listed))
    assert found == ({checker.LISTS_HAVE_ORDERS} if is_missing else set())


def test_an_incomplete_list_may_lack_an_order() -> None:
    listed = {"ids": ["2"], "is_complete": False}
    assert violations(order(1, 2), request("GET", "/v1/orders", 3, 4, body=listed)) == set()


@pytest.mark.parametrize(("began", "is_backward"), [(2.1, True), (1.9, False)])
def test_versions_never_go_backwards(began: float, is_backward: bool) -> None:
    found = violations(request("GET", ME, 1, 2, version=2), request("GET", ME, began, 3, version=1))
    assert found == ({checker.NEVER_BACKWARDS} if is_backward else set())


@pytest.mark.parametrize(("status", "is_backward"), [(None, False), (412, True)])
def test_a_product_may_go_backwards_after_a_change_that_was_never_acknowledged(
    status: int | None, is_backward: bool
) -> None:
    found = violations(
        request("PATCH", LAMP, 1, 2, status, code="precondition_failed", if_match=1),
        request("GET", LAMP, 2, 3, version=2),
        request("GET", LAMP, 4, 5, version=1),
    )
    assert found == ({checker.NEVER_BACKWARDS} if is_backward else set())


def test_two_changes_of_one_version_never_both_succeed() -> None:
    first = change(1, 3, 2, if_match=1)
    assert violations(first, change(2, 4, 3, if_match=1)) == {checker.ONE_CHANGE_PER_VERSION}
    assert violations(first, change(2, 4, 3, if_match=2)) == set()
    assert violations(first, request("PATCH", ME, 2, 4, 412, code="precondition_failed", if_match=1)) == set()
    assert violations(first, request("PATCH", ME, 2, 4, None, if_match=1)) == set()


def test_two_changes_never_make_the_same_version() -> None:
    cancelled = state("1", timeline=(TimelineEntry("cancelled"), TimelineEntry("shipped")))
    cancel = request("POST", f"{ORDER}/cancel", 1, 2, version=2)
    assert violations(cancel, request("POST", f"{ORDER}/ship", 1, 2, version=2), final=cancelled) == {
        checker.ONE_CHANGE_PER_VERSION
    }
    assert violations(cancel, request("POST", f"{ORDER}/ship", 1, 2, version=3), final=cancelled) == set()


def test_a_change_to_the_same_values_makes_no_version() -> None:
    assert violations(change(1, 2, 2, if_match=2), change(1, 2, 2, if_match=2)) == set()
