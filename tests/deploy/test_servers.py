"""The servers that tests run on: real, isolated, and those of `make run`."""

import asyncio
import sys
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from deploy.local.postgres import create_database
from tests.databases import PASSWORD, DatabaseFactory, database_url, for_asyncpg


async def test_kafka_gives_back_in_order_what_was_produced(kafka_bootstrap_servers: str, topic_prefix: str) -> None:
    topic = f"{topic_prefix}letters"
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap_servers)
    await admin.start()
    await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    await admin.close()

    async with AIOKafkaProducer(
        bootstrap_servers=kafka_bootstrap_servers, acks="all", enable_idempotence=True
    ) as producer:
        for letter in (b"a", b"b", b"c"):
            await producer.send_and_wait(topic, letter)

    async with AIOKafkaConsumer(
        topic, bootstrap_servers=kafka_bootstrap_servers, group_id=topic_prefix, auto_offset_reset="earliest"
    ) as consumer:
        assert [(await consumer.getone()).value for _ in range(3)] == [b"a", b"b", b"c"]


async def test_valkey_is_empty_at_the_start_of_a_test(valkey_url: str) -> None:
    async with redis.asyncio.Redis.from_url(valkey_url) as client:
        assert await client.dbsize() == 0
        await client.set("left", "behind")


async def test_valkey_is_empty_at_the_start_of_the_next_test(valkey_url: str) -> None:
    await test_valkey_is_empty_at_the_start_of_a_test(valkey_url)


async def test_each_database_is_new_and_belongs_to_its_role(database_factory: DatabaseFactory) -> None:
    first, second = await database_factory(), await database_factory()
    assert first != second

    connection = await asyncpg.connect(for_asyncpg(first))
    await connection.execute("CREATE TABLE letter (id int)")
    assert await connection.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False
    await connection.close()


async def test_a_role_is_refused_by_the_database_of_another(
    database_factory: DatabaseFactory, postgres_admin_url: str
) -> None:
    await database_factory()
    await create_database(postgres_admin_url, name="stranger", password=PASSWORD)
    url = for_asyncpg(database_url(postgres_admin_url, name="stranger", role="stranger"))

    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied for database"):
        await asyncpg.connect(url.replace("stranger:", "tester:"))
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(url.replace(f":{PASSWORD}@", ":guess@"))

    connection = await asyncpg.connect(postgres_admin_url)
    await connection.execute('DROP DATABASE "stranger"')
    await connection.close()


async def test_a_server_ends_with_the_test_run_that_started_it(tmp_path: Path) -> None:
    controller = await asyncio.create_subprocess_exec("sleep", "600")
    host = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.server_host", "valkey", tmp_path / "run", str(controller.pid)
    )
    async with asyncio.timeout(60):
        while not (tmp_path / "run" / "valkey.url").exists():  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.02)
        url = (tmp_path / "run" / "valkey.url").read_text()
        async with redis.asyncio.Redis.from_url(url) as client:
            assert await client.ping()

        controller.kill()
        await controller.wait()

        assert await host.wait() == 0
    with pytest.raises(redis.ConnectionError):
        async with redis.asyncio.Redis.from_url(url, retry=None) as client:
            await client.ping()
    assert not (tmp_path / "run").exists()
