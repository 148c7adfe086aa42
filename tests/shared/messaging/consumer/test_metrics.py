"""A consumer's metrics, which dashboards and alerts read."""

from prometheus_client import REGISTRY

from shared.database import Database
from shared.ids import new_id
from shared.messaging.consumer.worker import ConsumerWorker
from tests.harness.builders import received, record_of
from tests.shared.effects import REJECTED_CENTS, credit_reserved, subscription


async def test_a_consumer_counts_applied_events_duplicates_and_dead_letters(database: Database) -> None:
    name, user_id = f"test.{new_id()}", new_id()
    first = received(credit_reserved(user_id), sequence=1)
    events = [
        first,
        first._replace(offset=first.offset + 1_000_000),
        received(credit_reserved(user_id), sequence=3),
        received(credit_reserved(cents=REJECTED_CENTS), sequence=1),
    ]
    worker = ConsumerWorker(name=name, subscription=subscription(), sessions=database.sessions)
    await worker.apply([record_of(event) for event in events])
    values = {
        (sample.name, sample.labels.get("type") or sample.labels.get("reason")): sample.value
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.labels.get("consumer") == name and sample.name.endswith(("_total", "_count"))
    }
    assert values == {
        ("consumer_applied_total", "user.credit_reserved"): 2,
        ("consumer_duplicates_total", None): 1,
        ("consumer_dead_letters_total", "rule_violated"): 1,
        ("consumer_gaps_total", None): 1,  # the second event of the first key
        ("consumer_retries_total", None): 1,  # the batch without savepoints, then with one for the rejected event
        ("consumer_rebalances_total", None): 0,
        ("consumer_replaced_total", None): 0,
        ("consumer_end_to_end_seconds_count", None): 2,
        ("consumer_share_seconds_count", None): 1,
    }
