"""What the demo makes of the answers: errors the data explain, latencies, mails."""

from datetime import UTC, datetime, timedelta

from deploy.demo.accounts import Account
from deploy.demo.client import Answer
from deploy.demo.latency import Latency, latency_of, latency_to_confirmed, latency_to_mail
from deploy.demo.ledger import Ledger, PlacedOrder, Sent
from deploy.demo.outcomes import Entry, Mails, Outcome, SentMail, mail_violations

SENT_AT = datetime(2026, 11, 23, 12, tzinfo=UTC)


def _outcome(order_id: str, *, confirmed_after: float | None) -> Outcome:
    order = PlacedOrder(order_id, Account("ada@example.com", "secret"), frozenset({"A"}), SENT_AT)
    entries = [Entry("pending", SENT_AT, None, is_refund=False)]
    if confirmed_after is not None:
        entries.append(Entry("confirmed", SENT_AT + timedelta(seconds=confirmed_after), None, is_refund=False))
    return Outcome(order, tuple(entries))


def test_errors_that_the_data_explain_are_counted_and_no_surprise() -> None:
    ledger = Ledger()

    assert ledger.judge(Sent.ORDER, Answer(201, {}), what="invoice 1") is True
    assert ledger.judge(Sent.NO_CUSTOMER, Answer(401, {"code": "token_missing"}), what="invoice 2") is False

    assert ledger.errors == {(Sent.NO_CUSTOMER, "401 token_missing"): 1}
    assert ledger.surprises == []


def test_dirt_that_is_taken_and_orders_that_fail_are_surprises() -> None:
    ledger = Ledger()

    ledger.judge(Sent.NEGATIVE_QUANTITY, Answer(201, {}), what="invoice 1")
    ledger.judge(Sent.ORDER, Answer(500, {"code": "internal_error"}), what="invoice 2")

    assert ledger.surprises == [
        "invoice 1 (a negative quantity) was taken: 201",
        "invoice 2 (an order) was answered 500 internal_error",
    ]


def test_percentiles_are_measured_values() -> None:
    assert latency_of([]) is None
    assert latency_of([0.3]) == Latency(1, 0.3, 0.3, 0.3)
    assert latency_of([float(n) for n in range(200, 0, -1)]) == Latency(200, 100.0, 198.0, 200.0)


def test_latencies_count_from_the_sending_of_the_order() -> None:
    outcomes = [_outcome("1", confirmed_after=0.25), _outcome("2", confirmed_after=None)]
    mails = Mails(sent={"m": SentMail("order.confirmed", "1")}, received_at={"m": SENT_AT + timedelta(seconds=0.5)})

    assert latency_to_confirmed(outcomes) == Latency(1, 0.25, 0.25, 0.25)
    assert latency_to_mail(outcomes, mails) == Latency(1, 0.5, 0.5, 0.5)


def test_one_mail_for_each_confirmed_order_is_no_violation() -> None:
    mails = Mails(sent={"m": SentMail("order.confirmed", "1")}, received_at={"m": SENT_AT}, repeats=1)

    assert mail_violations(mails, [_outcome("1", confirmed_after=1), _outcome("2", confirmed_after=None)]) == []


def test_mails_that_lack_or_are_too_many_are_violations() -> None:
    mails = Mails(
        sent={
            "twice-a": SentMail("order.confirmed", "1"),
            "twice-b": SentMail("order.confirmed", "1"),
            "lost": SentMail("order.confirmed", "2"),
            "phantom": SentMail("order.confirmed", "3"),
        },
        received_at={"twice-a": SENT_AT, "twice-b": SENT_AT, "phantom": SENT_AT, "stranger": SENT_AT},
    )
    outcomes = [_outcome("1", confirmed_after=1), _outcome("2", confirmed_after=1), _outcome("3", confirmed_after=None)]

    assert mail_violations(mails, outcomes) == [
        "order 1: 2 mails say that it is confirmed",
        "order 2: 0 mails say that it is confirmed",
        "order 3: 1 mails say that it is confirmed",
        "the mail lost is noted as sent and did not arrive",
        "the mail stranger arrived and is not noted as sent",
    ]
