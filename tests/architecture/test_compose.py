"""deploy/compose.yaml is consistent with the services, the images and itself. Needs no Docker engine."""

import re
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from deploy.audit.settings import AuditSettings
from deploy.console.settings import ConsoleSettings
from deploy.local.mailbox import MAX_MESSAGES
from deploy.local.postgres import server_of
from shared.settings import ServiceSettings
from tests.architecture.composed import COMPOSE_FILE, composed, composed_with, containers
from tests.architecture.dockerfile import copied_for
from tests.architecture.source import CHECKOUT, SERVICES

RUNNING = {name for name, container in containers().items() if container["restart"] != "no"}
TASKS = set(containers()) - RUNNING
OBSERVABILITY = {name for name, each in containers().items() if each.get("profiles") == ["observability"]}
SERVERS = [server_of(service) for service in SERVICES]


def test_every_part_of_the_system_has_a_container() -> None:
    archives = {"backup", *(f"{service}-archive" for service in SERVICES)}
    parts = {*SERVICES, *SERVERS, *archives, "gateway", "valkey", "kafka", "mailpit", "audit", "console"}
    assert parts | OBSERVABILITY == RUNNING
    assert {name for name in RUNNING if "profiles" in containers()[name]} == OBSERVABILITY
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
    assert {task for task in TASKS if task not in dependencies and "profiles" not in containers()[task]} == set()


def test_a_service_starts_after_its_database_is_migrated() -> None:
    wanted = {service: {f"{service}-migrate", server_of(service), "valkey", "kafka"} for service in SERVICES}
    assert [name for name, needed in wanted.items() if not needed <= containers()[name]["depends_on"].keys()] == []


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_a_server_of_its_own_on_which_its_database_is_made(service: str) -> None:
    server, task = containers()[server_of(service)], containers()[f"{service}-database"]

    assert server["environment"]["POSTGRES_PASSWORD_FILE"] == f"/run/secrets/{service}_postgres_password"
    assert task["environment"] == {"SERVICE": service, "PGHOST": server_of(service), "PGUSER": "postgres"}
    assert {*task["secrets"], *server["secrets"]} == {
        "archive_password",
        "audit_database_password",
        *(
            f"{service}_{password}"
            for password in ("postgres_password", "owner_database_password", "database_password")
        ),
    }
    assert f"{service}-database" in containers()[f"{service}-migrate"]["depends_on"]


@pytest.mark.parametrize("name", [*SERVICES, *(f"{service}-migrate" for service in SERVICES), "admin", "catalogue"])
def test_a_container_gives_its_service_every_setting_it_needs_and_no_other(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = containers()[name]["build"]["args"]["SERVICE"]
    settings_class: type[ServiceSettings] = import_module(f"services.{service}.settings").Settings
    prefix = f"{service.upper()}_"
    given = {key: value for key, value in containers()[name]["environment"].items() if key.startswith(prefix)}
    # NAME_FILE names the file with the value of NAME. Here any text will do.
    given = {_setting_of(key): f"orders={value}" if "TOKENS" in key else value for key, value in given.items()}
    for key, value in given.items():
        monkeypatch.setenv(key, value)

    settings = settings_class()

    assert {key.removeprefix(prefix).lower() for key in given} <= settings_class.model_fields.keys()
    assert settings.http_host == "0.0.0.0"
    assert urlsplit(settings.database_url).username == service
    assert urlsplit(settings.database_url).hostname == server_of(service)
    assert urlsplit(settings.database_url).path == f"/{service}"


def _setting_of(variable: str) -> str:
    """Return the setting that a variable gives, by its value or by the file that has it."""
    in_file = variable.endswith(("_PASSWORD_FILE", "_USERS_TOKEN_FILE", "_SERVICE_TOKENS_FILE"))
    return variable.removesuffix("_FILE") if in_file else variable


def test_the_console_knows_every_service_and_signs_nobody_in_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in _environment("console").items():
        monkeypatch.setenv(key.replace("_TOKEN_FILE", "_TOKEN"), value)

    settings = ConsoleSettings()

    assert {service: urlsplit(url).hostname for service, url in settings.service_urls.items()} == {
        service: service for service in SERVICES
    }
    assert (settings.local_admin_password_file, settings.control_socket) == (None, None)
    assert settings.users_token == "/run/secrets/console_users_token"
    assert f"http://127.0.0.1:{settings.http_port}/health/live" in " ".join(
        containers()["console"]["healthcheck"]["test"]
    )


def test_the_audit_reads_every_database_with_its_own_role_and_knows_its_port(monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in _environment("audit").items():
        monkeypatch.setenv(key.replace("_PASSWORD_FILE", "_PASSWORD"), value)

    settings = AuditSettings()

    addresses = {service: urlsplit(url) for service, url in settings.database_urls.items()}
    assert {service: (at.username, at.hostname, at.path) for service, at in addresses.items()} == {
        service: ("audit", server_of(service), f"/{service}") for service in SERVICES
    }
    assert (settings.kafka_bootstrap_servers, settings.kafka_username) == ("kafka:9092", "audit")
    assert f"http://127.0.0.1:{settings.http_port}/metrics" in " ".join(containers()["audit"]["healthcheck"]["test"])
    assert settings.state_file.parent == Path(containers()["audit"]["volumes"][0].partition(":")[2])


def test_each_address_is_a_container_and_a_port_on_which_it_listens() -> None:
    ports = {service: _environment(service)[f"{service.upper()}_HTTP_PORT"] for service in SERVICES}
    listening = {f"{name}:{port}" for name, port in ports.items()} | {f"{server}:5432" for server in SERVERS}
    listening |= {
        "valkey:6379",
        "kafka:9092",
        "mailpit:1025",
        f"console:{_environment('console')['CONSOLE_OTLP_PORT']}",
    }

    named = {
        match
        for name in ("gateway", *SERVICES)
        for value in _environment(name).values()
        for match in re.findall(r"(?:^|//|@)([a-z-]+:\d+)", value)
    }

    public = {"localhost:8080"}  # the gateway, as browsers name it
    assert named - public == listening


def test_only_pages_for_people_are_published_and_only_on_loopback() -> None:
    assert _published({}) == {
        "gateway": ["127.0.0.1:8080:8080"],
        "console": ["127.0.0.1:8090:8090"],
        "mailpit": ["127.0.0.1:8025:8025"],
        "grafana": ["127.0.0.1:3000:3000"],
    }


def test_the_published_ports_can_be_moved_and_mails_link_to_the_moved_one() -> None:
    moved = {
        "ORDERLY_GATEWAY_PORT": "9080",
        "ORDERLY_CONSOLE_PORT": "9090",
        "ORDERLY_MAIL_PAGE_PORT": "9025",
        "ORDERLY_GRAFANA_PORT": "9030",
    }
    environment = composed_with(moved)["services"]["notifications"]["environment"]

    assert _published(moved) == {
        "gateway": ["127.0.0.1:9080:8080"],
        "console": ["127.0.0.1:9090:8090"],
        "mailpit": ["127.0.0.1:9025:8025"],
        "grafana": ["127.0.0.1:9030:3000"],
    }
    assert environment["NOTIFICATIONS_PUBLIC_URL"] == "http://localhost:9080"


def test_two_stacks_on_one_engine_share_no_image() -> None:
    """Two checkouts may differ."""
    images = {container["image"] for container in composed_with({"COMPOSE_PROJECT_NAME": "other"})["services"].values()}
    assert [image for image in images if not image.startswith("other-")] == []


def test_neither_the_gateway_nor_the_outside_can_reach_the_databases() -> None:
    assert composed()["networks"]["parts"] == {"internal": True}
    assert containers()["gateway"]["networks"] == ["edge"]
    assert [containers()[name]["networks"] for name in (*SERVERS, "valkey", "kafka")] == [["parts"]] * 5


def test_the_gateway_gets_the_variables_of_its_routes() -> None:
    routes = (CHECKOUT / "deploy" / "gateway" / "dynamic.yaml").read_text()
    # Those of TLS are optional: the stack serves loopback addresses only.
    tls = {"GATEWAY_CERTIFICATE_FILE", "GATEWAY_KEY_FILE", "GATEWAY_SERVICES_CA_FILE"}
    assert set(re.findall(r'env "(\w+)"', routes)) - tls == _environment("gateway").keys()


def test_nothing_of_the_checkout_is_mounted_except_secrets() -> None:
    """A mounted file keeps its mode: with a strict umask, the container's user cannot read it."""
    sources = {volume.partition(":")[0] for each in containers().values() for volume in each.get("volumes", [])}
    assert sources == composed()["volumes"].keys()


def test_data_are_in_volumes_that_outlive_their_container() -> None:
    kept = {name: containers()[name]["volumes"] for name in (*SERVERS, "valkey", "kafka", "mailpit")}
    configuration = (COMPOSE_FILE.parent / "compose" / "kafka.properties").read_text()

    assert kept == {
        **{server: [f"{server}:/var/lib/postgresql"] for server in SERVERS},
        "valkey": ["valkey:/data"],
        "kafka": ["kafka:/var/lib/kafka/data"],
        "mailpit": ["mailpit:/data"],
    }
    assert "\nlog.dirs=/var/lib/kafka/data\n" in configuration
    assert _environment("mailpit")["MP_DATABASE"] == "/data/mailpit.db"
    assert _environment("mailpit")["MP_MAX_MESSAGES"] == str(MAX_MESSAGES)


@pytest.mark.parametrize("service", SERVICES)
def test_every_image_is_built_from_the_dockerfile_that_is_tested(service: str) -> None:
    build = containers()[service]["build"]

    assert (
        COMPOSE_FILE.parent / build["context"] / build["dockerfile"]
    ).resolve() == COMPOSE_FILE.parent / "Dockerfile"
    assert copied_for(build["args"]["SERVICE"]) == copied_for(service)


def test_each_service_uses_the_probe_of_its_image() -> None:
    """The command names no port: deploy/probe.py finds it with the SERVICE for which the image was built."""
    commands = {" ".join(containers()[service]["healthcheck"]["test"]) for service in SERVICES}

    assert commands == {"CMD python -IS /app/probe.py ready"}
    assert "probe.py" in {copied.target for copied in copied_for("users")}


def _environment(name: str) -> dict[str, Any]:
    environment: dict[str, Any] = containers()[name]["environment"]
    return environment


def _published(variables: dict[str, str]) -> dict[str, list[str]]:
    services: dict[str, Any] = composed_with(variables)["services"]
    return {name: container["ports"] for name, container in services.items() if "ports" in container}
