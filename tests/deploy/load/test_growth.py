"""A soak fails for what grows without bound, and for nothing else."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from deploy.load.growth import Rules, growths_of, restarted
from tests.deploy.load.builders import ORDERS_PER_SAMPLE, samples

MEGABYTE = 1024 * 1024
PER_MINUTE = 6 * ORDERS_PER_SAMPLE
"""Orders per minute of the samples."""


def _warms_up(minutes: float) -> float:
    """Return a value that grows during the first half, as caches and pools do."""
    return MEGABYTE * (100 + min(40, 10 * minutes))


def _leaks(minutes: float) -> float:
    return MEGABYTE * (100 + 4 * minutes)


@pytest.mark.parametrize(
    ("name", "value", "grows"),
    [
        ("memory/orders", _warms_up, False),
        ("memory/orders", _leaks, True),
        ("files/orders", lambda minutes: 40 + 4 * minutes, True),
        ("files/orders", lambda _: 40, False),
        # A sawtooth is no growth, however high its teeth are.
        ("valkey/memory", lambda minutes: MEGABYTE * (1 + 4 * (minutes % 1)), False),
        # A history grows with the orders. More than that is a leak: here, twice as many rows per order at the end.
        ("rows/orders.order_timeline", lambda minutes: 2 * PER_MINUTE * minutes, False),
        ("rows/orders.order_timeline", lambda minutes: 2 * PER_MINUTE * minutes * (1 + minutes / 10), True),
        # The same growth in a table that nobody has declared as a history.
        ("rows/orders.new_table", lambda minutes: 2 * PER_MINUTE * minutes, True),
    ],
)
def test_growth_beyond_the_tolerance_is_found(name: str, value: Callable[[float], float], grows: bool) -> None:
    (growth,) = growths_of(samples({name: value}), Rules.read())

    assert growth.is_unbounded == grows
    if grows:
        assert growth.sentence.startswith(f"{name} grows: by ")


@pytest.mark.parametrize(("start", "grows"), [(100, False), (200, True)])
def test_what_may_grow_up_to_a_bound_is_judged_by_that_alone(start: float, *, grows: bool) -> None:
    taken = samples({"memory/kafka": lambda minutes: MEGABYTE * (start + 10 * minutes)})

    (growth,) = growths_of(taken, Rules.read())

    assert growth.is_unbounded == grows
    assert growth.sentence.endswith("above its bound of 256.0 MB.")


def test_the_sentence_has_units() -> None:
    (growth,) = growths_of(samples({"memory/orders": _leaks}), Rules.read())

    exact = replace(growth, growth=20.0 * MEGABYTE, mean=130.0 * MEGABYTE, accepted=8.0 * MEGABYTE)

    assert exact.sentence == (
        "memory/orders grows: by 20.0 MB over the second half, from a mean of 130.0 MB (accepted: 8.0 MB)."
    )


def test_too_few_samples_judge_nothing() -> None:
    assert growths_of(samples({"memory/orders": _leaks}, number=8), Rules.read()) == []


def test_a_restarted_process_fails_the_soak() -> None:
    """The memory begins again, which would hide a leak."""
    taken = samples({"memory/orders": _warms_up})
    taken[-1] = replace(taken[-1], pids={"orders": 99, "users": 2})

    assert restarted(taken) == ["orders was restarted during the soak, so its growth cannot be judged."]


def test_every_rule_has_a_reason() -> None:
    rules = Rules.read()

    assert all(rules.per_order.values())
    assert {pattern for pattern in rules.per_order if rules.is_per_order(f"rows/{pattern}")} >= {"orders.order_item"}
