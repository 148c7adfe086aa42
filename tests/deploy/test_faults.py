"""Each fault of *Break it* has its effect, and its end is noticed."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer

from deploy.faults.catalogue import FAULTS
from deploy.faults.poison import poison_records
from deploy.faults.random_buttons import FAULTS as PRESSED
from deploy.local.control_protocol import ControlError
from deploy.local.lifecycle import State
from shared.connection_urls import dsn_of
from shared.events.topics import TOPICS, topic_named
from shared.messaging.envelope import received_of
from shared.messaging.kafka import KafkaConnection
from shared.messaging.topics import create_topics
from tests.deploy.controlled import Controlled, controlled, events_of
from tests.harness.databases import DatabaseFactory, as_owner

PROCESSES = ("users", "orders", "notifications", "orders-postgres", "kafka", "valkey", "gateway", "mail")
OUTAGE_SECONDS = 3
"""Long enough for a busy machine to look at the state meanwhile."""


@pytest.fixture
async def system(
    database_factory: DatabaseFactory, kafka_bootstrap_servers: str, tmp_path: Path
) -> AsyncIterator[Controlled]:
    url = dsn_of(as_owner(await database_factory("orders")))
    async with controlled(tmp_path, kafka=kafka_bootstrap_servers) as running:
        running.target.urls = dict.fromkeys(("users", "orders", "notifications"), url)
        yield running


async def test_each_fault_of_a_process_has_its_effect_and_ends(system: Controlled) -> None:
    await system.start(*PROCESSES)
    for fault, parameters, process in (
        ("kill_service", {"service": "users"}, "users"),
        ("kill_broker", {}, "kafka"),
        ("kill_valkey", {}, "valkey"),
        ("kill_gateway", {}, "gateway"),
        ("shut_down_postgres", {"service": "orders"}, "orders-postgres"),
    ):
        before = await system.status_of(process)
        report = await system.client.fault(fault, **parameters)
        assert report.details == {"process": process, "pid": before.pid}
        await system.until_ended(report)
        after = await system.status_of(process)
        assert (after.state, after.restarts) == (State.READY, 1), fault
    assert (await system.status_of("orders-postgres")).last_exit == "was killed by SIGQUIT"

    report = await system.client.fault("suspend_consumer", service="notifications", seconds=OUTAGE_SECONDS)
    assert (await system.status_of("notifications")).state is State.SUSPENDED
    await system.until_suspended("notifications")
    await system.until_ended(report)
    assert events_of(await system.status_of("notifications"))[-2:] == ["suspended", "resumed"]

    report = await system.client.fault("stop_mail", seconds=OUTAGE_SECONDS)
    assert (await system.status_of("mail")).state is State.STOPPED
    await system.until_ended(report)
    assert (await system.status_of("mail")).state is State.READY


async def test_the_leading_relay_is_the_one_that_is_killed(system: Controlled) -> None:
    await system.start("orders")
    with pytest.raises(ControlError, match="No relay leads orders now") as refused:
        await system.client.fault("kill_leading_relay")
    assert refused.value.code == "unavailable"
    await _lead(system, epoch=4)

    report = await system.client.fault("kill_leading_relay")

    assert report.details["epoch"] == 4
    await system.until("orders", lambda each: each.restarts == 1)
    assert (await system.client.status()).faults[-1].ended_at is None
    await _lead(system, epoch=5)
    await system.until_ended(report)


async def test_the_connections_to_a_database_are_ended(system: Controlled) -> None:
    await system.start("orders")
    connection = await asyncpg.connect(system.target.urls["orders"])

    report = await system.client.fault("terminate_backends")

    assert report.did == "Ended 1 connections to the database of orders."
    with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.InterfaceError)):
        await connection.execute("SELECT 1")
    await system.until_ended(report)


async def test_a_commit_is_cut_behind_a_proxy_that_a_restart_removes(system: Controlled) -> None:
    url = system.target.urls["orders"]
    await system.start("orders", orders={"ORDERS_DATABASE_URL": url})

    report = await system.client.fault("cut_after_commit", times=2)
    used = system.target.supervisor.children["orders"].program.environment["ORDERS_DATABASE_URL"]
    assert urlsplit(used).port == report.details["proxy_port"] != urlsplit(url).port
    pid = (await system.status_of("orders")).pid
    await _commit_without_an_answer(used, "first")
    again = await system.client.fault("cut_after_commit")
    assert (again.details["cuts"], again.details["armed"]) == (1, 2)
    assert (await system.status_of("orders")).pid == pid
    for text in ("second", "third"):
        await _commit_without_an_answer(used, text)
    await system.until_ended(again)
    direct = await asyncpg.connect(url)
    assert [row["text"] for row in await direct.fetch("SELECT text FROM note")] == ["first", "second", "third"]
    await direct.close()

    await system.client.restart("orders")
    assert system.target.supervisor.children["orders"].program.environment["ORDERS_DATABASE_URL"] == url
    with pytest.raises(ConnectionError):
        await asyncpg.connect(used)


async def test_poison_is_sent_with_keys_of_its_own_and_ends_when_it_is_discarded(
    system: Controlled, kafka_bootstrap_servers: str, topic_prefix: str
) -> None:
    await create_topics(KafkaConnection(kafka_bootstrap_servers, topic_prefix))
    system.target.topic_prefix = topic_prefix
    consumer = AIOKafkaConsumer(
        f"{topic_prefix}orders", bootstrap_servers=kafka_bootstrap_servers, auto_offset_reset="earliest"
    )
    await consumer.start()
    report = await system.client.fault("send_poison", topic="orders", kind="blocked_key", count=2)
    wanted = Counter(dict.fromkeys(report.details["keys"], 2))
    seen: Counter[str] = Counter()
    async with asyncio.timeout(20):
        while not wanted <= seen:
            seen[(await consumer.getone()).key.decode()] += 1
    await consumer.stop()

    connection = await asyncpg.connect(system.target.urls["orders"])
    await connection.execute(
        """
        INSERT INTO dead_letter (consumer, topic, partition, "offset", key, headers, payload, reason)
        VALUES ('users.orders', 'orders', 0, 0, $1, '{}', '', 'invalid')
        """,
        report.details["keys"][0],
    )
    assert (await system.client.status()).faults[-1].ended_at is None
    await connection.execute("UPDATE dead_letter SET resolution = 'discarded', resolved_at = now()")
    await connection.close()
    await system.until_ended(report)


async def test_a_fault_without_its_process_or_server_is_refused_with_the_reason(system: Controlled) -> None:
    system.target.urls = {"orders": "postgresql://nobody@127.0.0.1:1/orders"}
    for fault, message in (
        ("kill_service", "orders does not run here."),
        ("kill_leading_relay", "orders does not run here."),
        ("cut_after_commit", "orders does not run here."),
        ("stop_mail", "mail does not run here."),
        ("terminate_backends", "orders-postgres does not answer"),
    ):
        with pytest.raises(ControlError, match=message) as refused:
            await system.client.fault(fault)
        assert refused.value.code == "unavailable"
    assert (await system.client.status()).faults == []


def test_poison_of_each_kind_is_what_its_name_says() -> None:
    for topic in (each for each in TOPICS if each.consumers):
        ((key, value, headers),) = poison_records(topic, "undecodable")
        raw = dict(headers)
        assert received_of(topic=topic.name, partition=0, offset=0, key=key, value=value, headers=raw).context is None
        ((key, value, headers),) = poison_records(topic, "foreign")
        context = received_of(
            topic=topic.name, partition=0, offset=0, key=key, value=value, headers=dict(headers)
        ).context
        assert context is not None
        assert context.source != topic.source
        first, second = poison_records(topic_named(topic.name), "blocked_key")
        assert first[0] == second[0]
        assert [dict(headers)["ce_sequence"] for _, _, headers in (first, second)] == [b"1", b"2"]


async def test_every_fault_is_described_and_pressed_by_chance(system: Controlled) -> None:
    described = await system.client.faults()

    assert [each.name for each in described] == list(FAULTS)
    assert PRESSED.keys() == FAULTS.keys()
    for each in described:
        for schema in each.parameters.get("properties", {}).values():
            assert "default" in schema, each.name


async def _lead(system: Controlled, *, epoch: int) -> None:
    connection = await asyncpg.connect(system.target.urls["orders"])
    await connection.execute(
        """
        INSERT INTO relay_lease VALUES (0, 'relay', $1, clock_timestamp() + interval '1 minute')
        ON CONFLICT (shard) DO UPDATE SET epoch = excluded.epoch
        """,
        epoch,
    )
    await connection.close()


async def _commit_without_an_answer(url: str, text: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE TABLE IF NOT EXISTS note (text text)")
    with suppress(asyncpg.PostgresConnectionError, asyncpg.InterfaceError, ConnectionError):
        async with connection.transaction():
            await connection.execute("INSERT INTO note VALUES ($1)", text)
        raise AssertionError("the commit was answered")
