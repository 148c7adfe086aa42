"""Test servers in containers are ready when the log of the image says so, and reachable from this machine only."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import docker
import pytest
import redis.asyncio
from aiokafka.admin import AIOKafkaAdminClient
from docker.errors import DockerException, ImageNotFound
from testcontainers.core.docker_client import DockerClient

from tests.architecture.composed import containers as composed_containers
from tests.deploy.stand_in_engine import Engine, running_engine
from tests.harness.containers import LABEL, check_engine, container
from tests.harness.servers import IMAGES, KINDS, Kind, ServerFailed, image_of

LOGS = Path(__file__).parent / "image_logs"
SERVED_PORT = {"postgres": 5432, "valkey": 6379, "kafka": 9092}

StartEngine = Callable[..., Engine]


def logs_of(kind: Kind) -> dict[str, str]:
    """Return what the official image writes to each stream until its server is ready."""
    return {path.suffix.removeprefix("."): path.read_text() for path in LOGS.glob(f"{kind}.std*")}


@pytest.fixture
def start_engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[StartEngine]:
    """Start a stand-in engine that has every image, and set DOCKER_HOST to it."""
    # Not in `tmp_path`: the path of a socket may have about a hundred characters only.
    with TemporaryDirectory(dir="/tmp", prefix="engine-") as folder, ExitStack() as running:

        def start(*, logs: dict[str, str], **behaviour: Any) -> Engine:
            behaviour.setdefault("images", frozenset(map(image_of, KINDS)))
            engine = Engine(socket=Path(folder) / "engine.sock", logs=logs, **behaviour)
            monkeypatch.setenv("DOCKER_HOST", engine.url)
            return running.enter_context(running_engine(engine))

        yield start


@pytest.mark.parametrize("kind", KINDS)
async def test_a_container_is_published_on_loopback_and_removed_with_its_volumes(
    start_engine: StartEngine, kind: Kind
) -> None:
    engine = start_engine(logs=logs_of(kind))
    async with container(kind, timeout_seconds=10) as url:
        port = urlsplit(url if "//" in url else f"//{url}").port
        assert engine.created["HostConfig"]["PortBindings"] == {
            f"{SERVED_PORT[kind]}/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(port)}]
        }
        assert engine.created["Image"] == image_of(kind)
        assert LABEL in engine.created["Labels"]
        assert not engine.removed
    assert engine.removed


@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_is_not_ready_before_the_last_line_of_its_log(start_engine: StartEngine, kind: Kind) -> None:
    logs = logs_of(kind)
    last = "stderr" if kind == "postgres" else "stdout"
    logs[last] = "".join(logs[last].splitlines(keepends=True)[:-1])
    engine = start_engine(logs=logs)
    with pytest.raises(ServerFailed, match=f"The container of {image_of(kind)} did not start: .* did not emit logs"):
        async with container(kind, timeout_seconds=1):
            pass
    assert engine.removed


async def test_a_container_that_exits_fails_at_once(start_engine: StartEngine) -> None:
    engine = start_engine(logs={"stderr": "Error: Database is uninitialized\n"}, exits=True)
    with pytest.raises(ServerFailed, match=r"Container exited \(status: exited, exit code: 1\)"):
        async with container("postgres", timeout_seconds=60):
            pass
    assert engine.removed


async def test_an_image_that_cannot_be_pulled_is_reported(start_engine: StartEngine) -> None:
    start_engine(logs={}, images=frozenset())
    with pytest.raises(
        ServerFailed, match=rf"container of {image_of('kafka')} did not start: .*no route to the registry"
    ):
        async with container("kafka"):
            pass


async def test_a_container_that_is_published_on_another_machine_is_reported(start_engine: StartEngine) -> None:
    engine = start_engine(logs=logs_of("valkey"), publishes=False)
    with pytest.raises(ServerFailed, match="is ready, but not reachable"):
        async with container("valkey", timeout_seconds=10):
            pass
    assert engine.removed


async def test_a_missing_engine_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    with pytest.raises(ServerFailed, match=r"No Docker engine answers at unix://\S+/nobody.sock: "):
        async with container("valkey"):
            pass


@pytest.fixture
def engine_with_images() -> None:
    """Skip the test if no engine answers, or if it neither has the images nor can pull them."""
    try:
        check_engine()
        with closing(DockerClient().client) as engine:
            for kind in KINDS:
                _ensure_image(engine, image_of(kind))
    except (ServerFailed, DockerException) as error:
        pytest.skip(str(error))


def _ensure_image(engine: docker.DockerClient, image: str) -> None:
    try:
        engine.images.get(image)
    except ImageNotFound:
        engine.images.pull(image)


@pytest.mark.usefixtures("engine_with_images")
async def test_a_postgres_container_serves() -> None:
    async with container("postgres") as url:
        connection = await asyncpg.connect(url)
        assert await connection.fetchval("SHOW fsync") == "off"
        await connection.close()


@pytest.mark.usefixtures("engine_with_images")
async def test_a_valkey_container_serves() -> None:
    async with container("valkey") as url, redis.asyncio.Redis.from_url(url.replace("/0", "/63")) as client:
        assert await client.ping()


@pytest.mark.usefixtures("engine_with_images")
async def test_a_kafka_container_serves() -> None:
    async with container("kafka") as url:
        admin = AIOKafkaAdminClient(bootstrap_servers=url)
        await admin.start()
        assert await admin.list_topics() == []
        await admin.close()


def test_tests_run_on_the_images_of_the_compose_stack() -> None:
    built = {container.get("build", {}).get("target") for container in composed_containers().values()}
    assert set(KINDS) <= built
    assert {image.partition("@")[2][:7] for image in IMAGES.values()} == {"sha256:"}
