"""The servers of a test run as containers, where a Docker engine answers and has, or can get, the images."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from urllib.parse import urlsplit

from testcontainers.core.container import DockerContainer
from testcontainers.core.waiting_utils import wait_for_logs

from deploy.local.ports import free_port
from tests.servers import Kind

START_TIMEOUT_SECONDS = 120


def containers_are_wanted() -> bool:
    """ORDERLY_TEST_SERVERS: `local`, `containers`, or `auto` (the default): containers where an engine answers."""
    wanted = os.environ.get("ORDERLY_TEST_SERVERS", "auto")
    return wanted == "containers" or (wanted == "auto" and _engine_answers())


@asynccontextmanager
async def container(kind: Kind) -> AsyncIterator[str | None]:
    """Yields the container's URL, or None where it can't be had and local processes may stand in."""
    port = free_port()
    described, ready_log, url = _describe(kind, port)
    try:
        await asyncio.to_thread(described.start)
    except Exception as error:
        if os.environ.get("ORDERLY_TEST_SERVERS") == "containers":
            raise
        print(f"A Docker engine answers, but not with {described.image}: {error}. A local {kind} is used instead.")  # noqa: T201
        yield None
        return
    try:
        await asyncio.to_thread(wait_for_logs, described, ready_log, timeout=START_TIMEOUT_SECONDS)
        yield url
    finally:
        await asyncio.to_thread(described.stop)


def _describe(kind: Kind, port: int) -> tuple[DockerContainer, str, str]:
    """The container, the line of its log that says it is ready, and its URL."""
    match kind:
        case "postgres":
            described = DockerContainer("postgres:18-alpine").with_bind_ports(5432, port)
            described.with_env("POSTGRES_PASSWORD", "orderly").with_command("-c fsync=off -c max_connections=300")
            # The image starts the server twice; only the second one listens on TCP.
            ready = r"(?s)ready to accept connections.*ready to accept connections"
            return described, ready, f"postgresql://postgres:orderly@127.0.0.1:{port}/postgres"
        case "valkey":
            described = DockerContainer("valkey/valkey:9-alpine").with_bind_ports(6379, port)
            described.with_command("valkey-server --databases 64")
            return described, "Ready to accept connections", f"redis://127.0.0.1:{port}/0"
        case "kafka":
            described = DockerContainer("apache/kafka:4.3.1").with_bind_ports(9092, port)
            for name, value in _kafka_environment(port).items():
                described.with_env(name, value)
            return described, "Kafka Server started", f"127.0.0.1:{port}"


def _kafka_environment(port: int) -> dict[str, str]:
    return {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_LISTENERS": "PLAINTEXT://:9092,CONTROLLER://:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{port}",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
    }


def _engine_answers() -> bool:
    path = urlsplit(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")).path
    if not path:
        return True  # an engine elsewhere, named on purpose
    with closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.settimeout(1)
        try:
            connection.connect(path)
            connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b" 200 " in connection.recv(64)
        except OSError:
            return False
