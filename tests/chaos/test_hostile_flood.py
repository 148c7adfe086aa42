"""Hostile records are applied, ignored or dead-lettered, no consumer dies, and honest keys do not notice."""

from tests.chaos.hostile_flood import run_flood
from tests.harness.databases import DatabaseFactory

RECORDS = 1_500
"""Hostile records in each topic. `python -m tests.chaos.hostile --records 100000` sends more."""
SEED = 14


async def test_honest_keys_do_not_notice_hostile_records(
    database_factory: DatabaseFactory, kafka_bootstrap_servers: str, topic_prefix: str
) -> None:
    outcomes = await run_flood(
        database_factory,
        bootstrap_servers=kafka_bootstrap_servers,
        topic_prefix=topic_prefix,
        records=RECORDS,
        seed=SEED,
        seconds=90,
    )
    assert {consumer: outcome.violations for consumer, outcome in outcomes.items() if outcome.violations} == {}
    for outcome in outcomes.values():
        assert outcome.honest_delays
        assert {"ignored", "applied", "foreign", "undecodable", "invalid", "out_of_order"} <= outcome.records.keys()
