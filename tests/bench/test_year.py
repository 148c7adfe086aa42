"""A year of events leaves tables of bounded size; `python -m tests.bench.year` is the same at full size."""

from tests.bench.year import simulate
from tests.harness.databases import DatabaseFactory, as_owner

EVENTS = 73_000
GROWING = {
    "dead_letter",
    "dead_letter_action",
    "delivery",
    "event_stream",
    "event_stream_floor",
    "idempotency_key",
    "inbox",
    "inbox_sequence",
    "job_action",
    "notification",
    "operation",
    "outbox_sent",
    "pgqueuer",
    "pgqueuer_log",
    "pgqueuer_statistics",
    "position_action",
}


async def test_no_table_grows_without_bound_in_a_year(database_factory: DatabaseFactory) -> None:
    sizes = await simulate(as_owner(await database_factory("notifications")), events=EVENTS, step_days=7)
    assert sizes.keys() >= GROWING
    assert [name for name, size in sizes.items() if not size.is_bounded] == []
    assert {name for name, size in sizes.items() if size.rows > EVENTS / 2} == set()
