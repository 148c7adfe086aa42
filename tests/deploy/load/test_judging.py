"""Measured values are summarised, and judged by thresholds."""

from collections import Counter
from pathlib import Path

import pytest

from deploy.demo.latency import Latency
from deploy.load.routes import PLACE_ORDER, is_expected
from deploy.load.second import Second
from deploy.load.summary import summary_of
from deploy.load.thresholds import DEFAULT_FILE, Thresholds, ThresholdsInvalid, judged, read_thresholds
from tests.deploy.load.builders import decision, second


def test_a_second_survives_its_way_from_the_process_that_sends_the_requests() -> None:
    sent = second(errors=Counter({f"{PLACE_ORDER}: 503 overloaded": 2}), expected_errors=Counter({"x": 1}))

    assert Second.loads(sent.dumps()) == sent


def test_percentiles_leave_the_warm_up_out_and_counts_do_not() -> None:
    slow = second(requests={PLACE_ORDER: [9_000.0]}, decisions=[decision(saga_seconds=60)], placed=1)

    summary = summary_of([slow, *([second()] * 9)], warm_up_seconds=1)

    assert summary.routes[PLACE_ORDER] == Latency(45, 30.0, 50.0, 50.0)
    assert summary.saga == Latency(45, 0.5, 0.5, 0.5)
    assert (summary.placed, summary.decided, summary.pending) == (46, Counter(confirmed=46), 0)
    assert summary.warnings == []


@pytest.mark.parametrize(("clock_offset", "found"), [(0.0, 0.0), (0.005, 0.0), (90.0, 90.0), (-90.0, -90.0)])
def test_a_target_whose_clock_differs_has_the_same_latencies(clock_offset: float, found: float) -> None:
    """An order was created between its POST and the answer, so the answers bound the difference."""
    decisions = [decision(clock_offset=clock_offset)] * 3

    summary = summary_of([second(decisions=decisions)], warm_up_seconds=0)

    assert summary.clock_offset_seconds == pytest.approx(found, abs=0.011)
    assert summary.saga is not None
    assert summary.saga.p99 == pytest.approx(0.5, abs=0.011)


def test_a_load_that_is_not_what_it_claims_to_be_says_so() -> None:
    refused = Counter({f"{PLACE_ORDER}: 409 out_of_stock": 30})
    busy = [second(cpu=0.95, late_milliseconds=250.0, left_out=3, expected_errors=refused)] * 2

    warnings = summary_of([*busy, *([second()] * 8)], warm_up_seconds=0).warnings

    assert [warning.split(":")[0] for warning in warnings] == [
        "The load generator used more than 80% of a core in 2 of 10 seconds",
        "60 requests got an expected error, such as out_of_stock, beside 50 orders",
        "Customers began up to 250 ms late",
        "6 customers were left out, because too many were in the shop",
    ]


def test_each_missed_threshold_has_a_sentence() -> None:
    failing = second(errors=Counter({f"{PLACE_ORDER}: 503 overloaded": 9}), outbox_age_seconds=40.0, placed=6)
    thresholds = Thresholds(
        error_rate=0.1,
        saga_p99_seconds=0.4,
        outbox_age_at_end_seconds=10,
        pending_share=0.5,
        route_p99_milliseconds={"default": 1_000, PLACE_ORDER: 45},
    )

    judgements = judged(summary_of([failing], warm_up_seconds=0), thresholds)

    assert [judgement.sentence for judgement in judgements if judgement.is_missed] == [
        "The error rate is 20.00%, above the threshold of 10.00%.",
        "The p99 from POST to confirmed is 0.5 s, above the threshold of 0.4 s.",
        "The outbox age at the end is 40 s, above the threshold of 10 s.",
        "The p99 of POST /v1/orders is 50 ms, above the threshold of 45 ms.",
    ]
    assert "The share of pending orders is 16.67%, within the threshold of 50.00%." in [
        judgement.sentence for judgement in judgements
    ]


def test_a_target_that_confirms_nothing_never_passes() -> None:
    summary = summary_of([second(decisions=[], placed=0, outbox_age_seconds=None)], warm_up_seconds=0)

    judgements = judged(summary, read_thresholds(DEFAULT_FILE))

    assert [judgement.name for judgement in judgements if judgement.is_missed] == [
        "The number of loads without a confirmed order"
    ]
    assert "The outbox age at the end was not measured (threshold: 10 s)." in [each.sentence for each in judgements]


def test_only_what_the_data_explain_is_no_error() -> None:
    assert is_expected(PLACE_ORDER, "out_of_stock")
    assert not is_expected(PLACE_ORDER, "validation_failed")
    assert not is_expected("GET /v1/orders", "out_of_stock")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("error_rate = 2", "error_rate: Input should be less than or equal to 1"),
        ("error_rat = 0.1", "error_rat: Extra inputs are not permitted"),
        ("error_rate", "is not valid TOML"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_a_file_of_thresholds_that_cannot_be_used_is_explained(tmp_path: Path, text: str | None, message: str) -> None:
    file = tmp_path / "thresholds.toml"
    if text is not None:
        file.write_text(text)

    with pytest.raises(ThresholdsInvalid, match=message):
        read_thresholds(file)
