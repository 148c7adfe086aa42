"""A histogram that observes many values at once equals one that observes each."""

import pytest
from prometheus_client import CollectorRegistry

from shared.patches.prometheus_histogram import BatchHistogram

BOUNDS = (0.25, 1, 30)
# Multiples of 1/8 have the same exact sum in any order; some equal a bucket's bound.
VALUES = [0.0, 0.25, 0.375, 1.0, 1.5, 1.5, 30.0, 4_000.0]


@pytest.mark.parametrize("values", [VALUES, VALUES[:1], []])
def test_many_values_are_counted_as_each_alone(values: list[float]) -> None:
    at_once, alone = _histogram(), _histogram()

    at_once.labels("orders.users").observe_all(values)
    for value in values:
        alone.labels("orders.users").observe(value)

    assert _samples(at_once) == _samples(alone)
    assert _samples(at_once)["delay_seconds_count", None] == len(values)


def test_one_of_the_values_may_have_an_exemplar() -> None:
    histogram = _histogram()

    histogram.labels("orders.users").observe_all([0.375, 1.0, 0.25], exemplar=(1.0, {"trace_id": "4bf9"}))

    (metric,) = histogram.collect()
    exemplars = {sample.labels["le"]: sample.exemplar for sample in metric.samples if sample.exemplar}
    assert {bound: (each.labels, each.value) for bound, each in exemplars.items()} == {
        "1.0": ({"trace_id": "4bf9"}, 1.0)
    }


def _histogram() -> BatchHistogram:
    histogram = BatchHistogram(
        "delay_seconds", "Delay of events", ["consumer"], buckets=BOUNDS, registry=CollectorRegistry()
    )
    histogram.labels("orders.users")
    return histogram


def _samples(histogram: BatchHistogram) -> dict[tuple[str, str | None], float]:
    (metric,) = histogram.collect()
    return {
        (sample.name, sample.labels.get("le")): sample.value
        for sample in metric.samples
        if not sample.name.endswith("_created")
    }
