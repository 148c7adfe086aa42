"""The relay's metrics, which dashboards and alerts read."""

from collections.abc import Callable

from prometheus_client import REGISTRY

from shared.database import Database
from shared.messaging.outbox.outbox import record
from shared.messaging.outbox.relay import Relay
from tests.harness.rows import Rows
from tests.harness.running import running
from tests.harness.waiting import until
from tests.shared.effects import credit_reserved


def value_of(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_a_relay_counts_what_it_published_and_shows_whether_it_leads(
    database: Database, relay_of: Callable[..., Relay]
) -> None:
    rows = Rows(database.sessions)
    counters: list[Callable[[], float]] = [
        lambda: value_of("relay_published_total", topic="users"),
        lambda: value_of("relay_delay_seconds_count"),
    ]
    before = [count() for count in counters]
    async with database.sessions.begin() as session:
        for _ in range(3):
            record(session, credit_reserved())

    async def all_sent() -> bool:
        return await rows.count("outbox_sent") == 3

    async with running(relay_of()):
        await until(all_sent, what="the events are sent")
        assert (value_of("relay_leader", shard="0"), value_of("relay_epoch", shard="0")) == (1, 1)
    assert [count() - earlier for count, earlier in zip(counters, before, strict=True)] == [3, 3]
    assert value_of("relay_leader", shard="0") == 0
