"""The servers of a test run: real ones, isolated from each other, started as in `make run`."""

import asyncio
import os
import subprocess
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from deploy.local.postgres import create_database
from shared.connection_urls import dsn_of
from tests.architecture.source import CHECKOUT
from tests.harness import servers
from tests.harness.databases import PASSWORD, DatabaseFactory, database_url
from tests.harness.servers import Kind


async def test_kafka_returns_records_in_their_order(kafka_bootstrap_servers: str, topic_prefix: str) -> None:
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
        await client.set("key", "value")


async def test_valkey_is_empty_at_the_start_of_the_next_test(valkey_url: str) -> None:
    await test_valkey_is_empty_at_the_start_of_a_test(valkey_url)


async def test_each_database_is_new_and_owned_by_its_role(database_factory: DatabaseFactory) -> None:
    first, second = await database_factory(), await database_factory()
    assert first != second

    connection = await asyncpg.connect(dsn_of(first))
    await connection.execute("CREATE TABLE letter (id int)")
    assert await connection.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False
    await connection.close()


async def test_a_role_cannot_connect_to_the_database_of_another(
    database_factory: DatabaseFactory, postgres_admin_url: str
) -> None:
    await database_factory()
    await create_database(postgres_admin_url, name="stranger", password=PASSWORD, owner_password=PASSWORD)
    url = dsn_of(database_url(postgres_admin_url, name="stranger", role="stranger"))

    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied for database"):
        await asyncpg.connect(url.replace("stranger:", "tester:"))
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(url.replace(f":{PASSWORD}@", ":guess@"))

    connection = await asyncpg.connect(postgres_admin_url)
    await connection.execute('DROP DATABASE "stranger"')
    await connection.close()


@asynccontextmanager
async def hosted(kind: Kind, folder: Path, **environment: str) -> AsyncIterator[tuple[Process, Process]]:
    """Yield a run's controller and the host process of its server, once the server answers."""
    await asyncio.to_thread(folder.mkdir)
    controller = await asyncio.create_subprocess_exec("sleep", "600")
    host = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.harness.server_host", kind, "local", folder, str(controller.pid)),
        env=os.environ | environment,
    )
    try:
        async with asyncio.timeout(60):
            while not (folder / f"{kind}.url").exists():
                assert host.returncode is None
                await asyncio.sleep(0.02)
        yield controller, host
    finally:
        with suppress(ProcessLookupError):
            controller.kill()
        await controller.wait()
        assert await host.wait() == 0


async def test_a_server_ends_with_the_test_run_that_started_it(tmp_path: Path) -> None:
    async with hosted("valkey", tmp_path / "run") as (controller, host):
        url = (tmp_path / "run" / "valkey.url").read_text()
        async with redis.asyncio.Redis.from_url(url) as client:
            assert await client.ping()

        controller.kill()
        assert await host.wait() == 0
    with pytest.raises(redis.ConnectionError):
        async with redis.asyncio.Redis.from_url(url, retry=None) as client:
            await client.ping()
    assert not (tmp_path / "run").exists()


async def test_a_run_on_tansu_prints_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(servers.RUN_FOLDER, str(tmp_path / "run"))
    assert servers.warning_of("kafka") is None
    async with hosted("kafka", tmp_path / "run", ORDERLY_KAFKA="tansu"):
        assert str(servers.warning_of("kafka")).startswith("Tansu stands in for Apache Kafka")


def test_a_server_that_did_not_start_fails_every_later_test_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        servers.RUN_FOLDER: str(tmp_path),
        servers.HOW: "containers",
        servers.GIVEN_URL["valkey"]: "",
        "DOCKER_HOST": f"unix://{tmp_path}/nobody.sock",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(servers.ServerFailed, match="valkey did not start:\nNo Docker engine answers") as first:
        servers.url_of("valkey")
    host = (tmp_path / "valkey.pid").read_text()
    with pytest.raises(servers.ServerFailed) as second:
        servers.url_of("valkey")
    assert str(second.value) == str(first.value)
    assert (tmp_path / "valkey.pid").read_text() == host


def pytest_run(*arguments: str, **environment: str) -> tuple[int, list[str]]:
    """Run a fast test module; return the exit status and the lines of the output."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/deploy/test_ports.py", *arguments],
        env=os.environ | {"TEST_POSTGRES_URL": "", "TEST_VALKEY_URL": ""} | environment,
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return run.returncode, run.stdout.splitlines()


def test_a_run_prints_its_servers_in_one_line() -> None:
    status, lines = pytest_run(TEST_KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
    assert status == 0
    assert lines[0] == (
        "Servers: postgres (local process), valkey (local process), kafka (TEST_KAFKA_BOOTSTRAP_SERVERS)"
    )


def test_a_run_on_containers_needs_an_engine(tmp_path: Path) -> None:
    status, lines = pytest_run("--servers", "containers", DOCKER_HOST=f"unix://{tmp_path}/nobody.sock")
    assert status == pytest.ExitCode.USAGE_ERROR
    assert lines[0].startswith(f"ERROR: --servers containers: No Docker engine answers at unix://{tmp_path}/nobody")
