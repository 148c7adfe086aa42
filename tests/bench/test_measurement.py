"""Medians, ratios, goals and changes."""

from typing import Any

import pytest

from tests.bench.measurement import Measurement, Result, joined, latencies, results_of


def rate(*values: float, **changed: Any) -> Measurement:
    usual: dict[str, Any] = {"name": "rate", "unit": "events/s", "higher_is_better": True, "baseline_values": (200,)}
    return Measurement(values=values, **usual | changed)


def delay(*values: float, **changed: Any) -> Measurement:
    return rate(*values, name="delay", unit="ms", higher_is_better=False, **changed)


def test_the_ratio_is_that_of_the_medians_over_the_rounds() -> None:
    rounds = [
        [rate(value, baseline_values=(bare,)), delay(value)] for value, bare in ((900, 1), (100, 1000), (500, 2000))
    ]
    first, second = joined(rounds)
    assert first == rate(900, 100, 500, baseline_values=(1, 1000, 2000))
    assert (first.value, first.baseline_value, first.ratio) == (500, 1000, 0.5)
    assert second.name == "delay"


@pytest.mark.parametrize(
    ("measured", "is_met"),
    [
        (rate(100), None),
        (rate(100, ratio_goal=0.5), True),
        (rate(99, ratio_goal=0.5), False),
        (delay(220, ratio_goal=1.1), True),
        (delay(221, ratio_goal=1.1), False),
        (delay(5, max_value=5), True),
        (delay(5.1, max_value=5), False),
    ],
)
def test_a_goal_is_for_the_ratio_or_for_the_value(measured: Measurement, is_met: bool | None) -> None:
    assert measured.is_met is is_met


def test_latencies_are_percentiles_in_milliseconds() -> None:
    p50, p99 = latencies("delay", [n / 1000 for n in range(1, 1000)], max_ms=(5, 25))
    assert (p50.name, p50.value, p50.max_value) == ("delay, p50", 500, 5)
    assert (p99.name, p99.value, p99.max_value) == ("delay, p99", 990, 25)


@pytest.mark.parametrize(
    ("result", "is_met"),
    [
        (Result(rate(100)), None),
        (Result(rate(100), rate(90)), True),
        (Result(rate(100), rate(89)), False),
        (Result(delay(10), delay(10.9)), True),
        (Result(rate(100), rate(200)), True),
        (Result(delay(10), delay(11.1)), False),
        (Result(delay(10), delay(1)), True),
        (Result(delay(10, max_value=5), delay(10)), False),
        # Twice the delay, while the baseline doubled too: the machine was slower.
        (Result(delay(10), delay(20, baseline_values=(400,))), True),
        # The same delay, while the baseline fell by a tenth: the machine was faster.
        (Result(delay(10), delay(10, baseline_values=(180,))), False),
        (Result(*(delay(n, baseline_values=(n,), baseline_uses_tables=True) for n in (10, 11.1))), False),
    ],
)
def test_full_tables_may_cost_a_tenth(result: Result, is_met: bool | None) -> None:
    assert result.is_met is is_met


def test_each_round_is_compared_with_the_one_beside_it() -> None:
    result = Result(*(delay(*values, baseline_values=()) for values in ((10, 20, 40), (11, 18, 41))))
    assert result.change == pytest.approx(0.025)


def test_a_measurement_with_two_baselines_has_one_change() -> None:
    empty, full = [rate(100), rate(100, baseline="other")], [rate(90), rate(80, baseline="other")]
    assert results_of(empty, full) == [Result(empty[0], full[0]), Result(empty[1])]
    assert results_of(empty, []) == [Result(empty[0]), Result(empty[1])]
