"""The results of a demo run: expected and unexpected answers, latencies, mails."""

from datetime import UTC, datetime, timedelta

from deploy.demo.accounts import Account
from deploy.demo.client import Answer
from deploy.demo.latency import Latency, latency_of, latency_to_confirmed, latency_to_mail
from deploy.demo.mails import Mails, SentMail, mail_violations
from deploy.demo.request_log import PlacedOrder, RequestKind, RequestLog
from deploy.demo.timelines import Timeline, TimelineEntry

SENT_AT = datetime(2026, 11, 23, 12, tzinfo=UTC)


def _timeline(order_id: str, *, confirmed_after: float | None = None) -> Timeline:
    order = PlacedOrder(order_id, Account("ada@example.com", "secret"), frozenset({"A"}), SENT_AT)
    entries = [TimelineEntry("pending", SENT_AT, None, is_refund=False)]
    if confirmed_after is not None:
        entries.append(TimelineEntry("confirmed", SENT_AT + timedelta(seconds=confirmed_after), None, is_refund=False))
    return Timeline(order, tuple(entries))


def test_errors_that_the_data_explain_are_counted_and_expected() -> None:
    log = RequestLog()

    assert log.record(RequestKind.ORDER, Answer(201, {}), subject="invoice 1") is True
    assert log.record(RequestKind.NO_CUSTOMER, Answer(401, {"code": "token_missing"}), subject="invoice 2") is False

    assert log.errors == {(RequestKind.NO_CUSTOMER, "401 token_missing"): 1}
    assert log.unexpected == []


def test_accepted_invalid_data_and_failed_orders_are_unexpected() -> None:
    log = RequestLog()

    log.record(RequestKind.NEGATIVE_QUANTITY, Answer(201, {}), subject="invoice 1")
    log.record(RequestKind.ORDER, Answer(500, {"code": "internal_error"}), subject="invoice 2")

    assert log.unexpected == [
        "invoice 1 (negative quantity): got 201, expected validation_failed",
        "invoice 2 (order): got 500 internal_error, expected success or out_of_stock",
    ]


def test_percentiles_are_measured_values() -> None:
    assert latency_of([]) is None
    assert latency_of([0.3]) == Latency(1, 0.3, 0.3, 0.3)
    assert latency_of([float(n) for n in range(200, 0, -1)]) == Latency(200, 100.0, 198.0, 200.0)


def test_latencies_start_when_the_order_is_sent() -> None:
    timelines = [_timeline("1", confirmed_after=0.25), _timeline("2")]
    mails = Mails(sent={"m": SentMail("order.confirmed", "1")}, received_at={"m": SENT_AT + timedelta(seconds=0.5)})

    assert latency_to_confirmed(timelines) == Latency(1, 0.25, 0.25, 0.25)
    assert latency_to_mail(timelines, mails) == Latency(1, 0.5, 0.5, 0.5)


def test_one_mail_for_each_confirmed_order_is_no_violation() -> None:
    mails = Mails(sent={"m": SentMail("order.confirmed", "1")}, received_at={"m": SENT_AT}, repeats=1)

    assert mail_violations(mails, [_timeline("1", confirmed_after=1), _timeline("2")]) == []


def test_missing_and_surplus_mails_are_violations() -> None:
    mails = Mails(
        sent={
            "twice-a": SentMail("order.confirmed", "1"),
            "twice-b": SentMail("order.confirmed", "1"),
            "lost": SentMail("order.confirmed", "2"),
            "phantom": SentMail("order.confirmed", "3"),
        },
        received_at={"twice-a": SENT_AT, "twice-b": SENT_AT, "phantom": SENT_AT, "stranger": SENT_AT},
    )
    timelines = [
        _timeline("1", confirmed_after=1),
        _timeline("2", confirmed_after=1),
        _timeline("3"),
    ]

    assert mail_violations(mails, timelines) == [
        "order 1: 2 confirmation mails, expected 1",
        "order 2: 0 confirmation mails, expected 1",
        "order 3: 1 confirmation mails, expected 0",
        "mail lost was recorded as sent but not received",
        "mail stranger was received but not recorded as sent",
    ]
