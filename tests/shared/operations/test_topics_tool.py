"""`topics` on the command line, as a process: killed at any step, it leaves a system that works and can be repeated."""

import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, create_subprocess_exec
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from shared.database import Database
from shared.ids import new_id
from shared.messaging.consumer.group import ConsumerGroups
from shared.messaging.failpoints import NAMES
from shared.messaging.outbox.outbox import record
from shared.messaging.outbox.relay import Relay
from shared.operations.topics import declared_consumers
from tests.harness.forked_commands import run_forked
from tests.harness.rows import Rows
from tests.harness.running import running, running_consumers
from tests.harness.waiting import until
from tests.shared.effects import credit_reserved, has_effects, sequences_by_key

FAILPOINTS = [name for name in NAMES if name.startswith("topics.")]
EXPIRE = sa.text("UPDATE relay_lease SET expires_at = clock_timestamp() - interval '1 second'")
ARMED = """
from services.users.__main__ import cli
from tests.chaos.failpoints import arm
arm({failpoints!r})
cli()
"""
USERS = [new_id() for _ in range(20)]


@pytest.fixture
def environment(database_url: str, kafka_bootstrap_servers: str, kafka_topics: str) -> dict[str, str]:
    return {
        "USERS_DATABASE_URL": database_url,
        "USERS_KAFKA_BOOTSTRAP_SERVERS": kafka_bootstrap_servers,
        "USERS_KAFKA_TOPIC_PREFIX": kafka_topics,
    }


async def tool(environment: dict[str, str], *arguments: str, failpoints: str | None = None) -> tuple[int, str, str]:
    """Run a command, and return its exit status, stdout and stderr. With failpoints it runs in a Python of its own."""
    if failpoints is None:
        return await run_forked("services.users", "topics", *arguments, environment=environment)
    armed = ARMED.format(failpoints=failpoints)
    process = await create_subprocess_exec(
        *(sys.executable, "-c", armed, "topics", *arguments),
        stdout=PIPE,
        stderr=PIPE,
        env=os.environ | environment,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def record_events(database: Database, *, times: int = 1) -> None:
    """Record an event of each user in each transaction."""
    for _ in range(times):
        async with database.sessions.begin() as session:
            for user_id in USERS:
                record(session, credit_reserved(user_id))


@pytest.mark.parametrize("failpoint", FAILPOINTS)
async def test_a_command_that_is_killed_leaves_every_key_in_order_and_can_be_repeated(
    database: Database,
    environment: dict[str, str],
    relay_of: Callable[..., Relay],
    consumers_of: Callable[..., ConsumerGroups],
    kafka_topics: str,
    failpoint: str,
) -> None:
    rows = Rows(database.sessions)
    # The declared consumers do not run here.
    skipped = [f"--skip-group={kafka_topics}{consumer}" for consumer in declared_consumers("users")]
    more = ["set-partitions", "users", "12", *skipped]
    consumers = consumers_of(database, metadata_max_age_seconds=1)
    async with running(relay_of()), running_consumers(consumers):
        await record_events(database, times=2)
        await until(has_effects(database, 2 * len(USERS)), what="the first events are applied")
        status, _, _ = await tool(environment, *more, failpoints=f"{failpoint}=kill")
        assert status == -signal.SIGKILL
        is_pinned = failpoint == "topics.partitions_pinned"
        assert await rows.of("SELECT partitions FROM topic_partitions") == [(12 if is_pinned else 6,)]
        await record_events(database, times=2)
        # As after five seconds.
        async with database.sessions.begin() as session:
            await session.execute(EXPIRE)
        await until(has_effects(database, 4 * len(USERS)), what="the next events are applied")
        status, out, err = await tool(environment, *more, "--actor", "ada")
        assert status == 0, err
        assert out.startswith("users has 12 partitions")
        await record_events(database, times=2)
        await until(has_effects(database, 6 * len(USERS)), what="the last events are applied")
    assert sequences_by_key(await rows.effects()) == {str(user_id): [1, 2, 3, 4, 5, 6] for user_id in USERS}
    assert await rows.dead_letters() == []
    assert await rows.of("SELECT partitions FROM topic_partitions") == [(12,)]


async def test_the_topics_are_listed_with_their_partitions(environment: dict[str, str]) -> None:
    status, out, _ = await tool(environment, "list")
    headings = "topic partitions in Kafka partitions of its keys"
    assert (status, out.split()) == (0, [*headings.split(), "users", "6", "-"])
    status, out, _ = await tool(environment, "list", "--json")
    assert (status, json.loads(out)) == (0, [{"topic": "users", "existing": 6, "pinned": None}])


async def test_an_error_is_reported_in_one_line(environment: dict[str, str]) -> None:
    status, _, err = await tool(environment, "set-partitions", "users", "5")
    assert (status, err) == (2, "Kafka has 6 partitions of users; the relays use none yet.\n")
    unreachable = environment | {"USERS_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    status, _, err = await tool(unreachable, "list")
    # aiokafka logs each address that does not answer, as a line of JSON.
    reported = [line[:6] for line in err.splitlines() if not line.startswith("{")]
    assert (status, reported) == (1, ["Kafka "])
