"""The servers of a test run as containers of the official images, published on the loopback address only."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field

from docker.errors import DockerException
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.docker_client import DockerClient, get_docker_host
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

from deploy.local.ports import free_port
from deploy.local.postgres import SETTINGS_FOR_TESTS
from tests.harness.servers import Kind, ServerFailed, image_name

LABEL = "orderly.tests"
"""The label of every container that a test run starts. Its value is the process id of the server's host."""
START_TIMEOUT_SECONDS = 120
POLL_SECONDS = 0.2
PASSWORD = "orderly"

# Disable Ryuk, which would publish a port on every address and holds the engine's socket. The host process removes the
# container when the run ends, however it ends.
testcontainers_config.ryuk_disabled = True


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The configuration of one server's container, and the line of its log that says that it is ready."""

    port: int
    ready: str
    in_both_streams: bool = False
    command: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


def check_engine() -> None:
    """Check that a Docker engine answers. Raises: ServerFailed, in one line, where none does."""
    host = get_docker_host() or "unix:///var/run/docker.sock"
    try:
        if host.startswith("unix://"):
            # Connect to the socket first: docker-py does not close the socket of a failed attempt.
            with closing(socket.socket(socket.AF_UNIX)) as probe:
                probe.connect(host.removeprefix("unix://"))
        DockerClient().client.close()
    except (OSError, DockerException) as error:
        raise ServerFailed(f"No Docker engine answers at {host}: {_first_line(error)}") from error


@asynccontextmanager
async def container(kind: Kind, *, timeout_seconds: float = START_TIMEOUT_SECONDS) -> AsyncIterator[str]:
    """Start a container, yield the URL of its server once it is ready, and remove the container afterwards.

    Raises: ServerFailed if there is no engine, if the image is not available, or if the server does not become ready.
    """
    await asyncio.to_thread(check_engine)
    port = free_port()
    described = await asyncio.to_thread(_describe, kind, port, timeout_seconds)
    try:
        try:
            await asyncio.to_thread(described.start)
        except (DockerException, TimeoutError, RuntimeError) as error:
            # testcontainers raises a RuntimeError when the container ends before it is ready.
            raise ServerFailed(f"The container of {described.image} did not start: {_first_line(error)}") from error
        await _check_port(described.image, port)
        yield _url(kind, port)
    finally:
        await asyncio.to_thread(described.stop)


def _describe(kind: Kind, port: int, timeout_seconds: float) -> DockerContainer:
    recipe = _recipe(kind, port)
    ready = LogMessageWaitStrategy(recipe.ready, predicate_streams_and=recipe.in_both_streams)
    ready.with_poll_interval(POLL_SECONDS).with_startup_timeout(int(timeout_seconds))
    described = DockerContainer(image_name(kind), env=dict(recipe.environment)).waiting_for(ready)
    described.ports[f"{recipe.port}/tcp"] = ("127.0.0.1", port)  # type: ignore[assignment]  # docker-py takes the pair
    if recipe.command:
        described.with_command(list(recipe.command))
    return described.with_kwargs(labels={LABEL: str(os.getpid())})


async def _check_port(image: str, port: int) -> None:
    """Raises: ServerFailed when the engine is on another machine, or does not publish on this one's loopback."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError as error:
        raise ServerFailed(f"The container of {image} is ready, but not reachable: {error}") from error
    writer.close()


def _recipe(kind: Kind, port: int) -> Recipe:
    match kind:
        case "postgres":
            return Recipe(
                port=5432,
                # The image first starts a server to initialise the database, which listens on no port and logs to
                # stdout. The one that serves logs to stderr.
                ready=r"database system is ready to accept connections",
                in_both_streams=True,
                command=[part for name, value in SETTINGS_FOR_TESTS.items() for part in ("-c", f"{name}={value}")],
                environment={"POSTGRES_PASSWORD": PASSWORD},
            )
        case "valkey":
            return Recipe(
                port=6379, ready="Ready to accept connections", command=["valkey-server", "--databases", "64"]
            )
        case "kafka":
            return Recipe(port=9092, ready="Kafka Server started", environment=_kafka_environment(port))


def _kafka_environment(port: int) -> dict[str, str]:
    return {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        # The broker calls itself, for transactions. Nothing listens on the published port inside of the container.
        "KAFKA_INTER_BROKER_LISTENER_NAME": "INTERNAL",
        "KAFKA_LISTENERS": "PLAINTEXT://:9092,INTERNAL://localhost:9094,CONTROLLER://localhost:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{port},INTERNAL://localhost:9094",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        # With 50 each, as by default, the first group and the first transaction take seconds.
        "KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS": "4",
        "KAFKA_TRANSACTION_STATE_LOG_NUM_PARTITIONS": "4",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
    }


def _url(kind: Kind, port: int) -> str:
    match kind:
        case "postgres":
            return f"postgresql://postgres:{PASSWORD}@127.0.0.1:{port}/postgres"
        case "valkey":
            return f"redis://127.0.0.1:{port}/0"
        case "kafka":
            return f"127.0.0.1:{port}"


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
