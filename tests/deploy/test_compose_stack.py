"""`make up` and its relatives say what is wrong before they start anything, where everything is, and what failed."""

import json
import os
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from deploy.compose.secret_files import NAMES
from deploy.local.ports import free_port
from deploy.local.state import CHECKOUT
from tests.deploy.stand_in_docker import Docker

Run = subprocess.CompletedProcess[str]


class Clone:
    """A checkout with what `make up` needs, and a stand-in for Docker."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "clone"
        self.secrets = self.folder / "deploy" / "secrets"
        (self.folder / "deploy" / "local").mkdir(parents=True)
        shutil.copytree(
            CHECKOUT / "deploy" / "compose",
            self.folder / "deploy" / "compose",
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        for name in ("__init__.py", "local/__init__.py", "local/listening.py"):
            shutil.copy(CHECKOUT / "deploy" / name, self.folder / "deploy" / name)
        (folder / "bin").mkdir()
        self.docker = Docker(folder / "bin")
        self.gateway_port, self.mail_page_port = free_port(), free_port()

    def run(self, *arguments: str, **environment: str) -> Run:
        """Run a command without site-packages, as on a machine that has no .venv."""
        return subprocess.run(
            [sys.executable, "-S", "-m", "deploy.compose", *arguments],
            cwd=self.folder,
            env={
                "PATH": str(self.docker.folder),
                "ORDERLY_GATEWAY_PORT": str(self.gateway_port),
                "ORDERLY_MAIL_PAGE_PORT": str(self.mail_page_port),
                **environment,
            },
            capture_output=True,
            text=True,
            check=False,
        )

    def started(self) -> bool:
        """Return whether anything was started."""
        return any("up" in command for command in self.docker.commands())


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


@pytest.fixture
def strict_umask() -> Iterator[None]:
    former = os.umask(0o077)
    yield
    os.umask(former)


def test_up_makes_passwords_and_says_where_everything_is(clone: Clone) -> None:
    run = clone.run("up")

    assert (run.returncode, run.stderr) == (0, "")
    assert clone.started()
    said = [
        f"http://127.0.0.1:{clone.gateway_port}",
        f"http://localhost:{clone.gateway_port}/account",
        f"http://127.0.0.1:{clone.mail_page_port}",
        "admin@orderly.example; the password is in deploy/secrets/admin_password",
        "make logs",
        "make down",
        "make up-reset",
    ]
    assert [words for words in said if words not in run.stdout] == []
    assert (clone.secrets / "admin_password").exists()


def test_up_with_the_profile_of_observability_says_where_the_boards_are(clone: Clone) -> None:
    port = free_port()
    run = clone.run("up", COMPOSE_PROFILES="demo,observability", ORDERLY_GRAFANA_PORT=str(port))

    assert (run.returncode, run.stderr) == (0, "")
    assert (
        f"  boards    http://127.0.0.1:{port}, as admin; the password is in deploy/secrets/grafana_password"
        in run.stdout
    )


@pytest.mark.usefixtures("strict_umask")
def test_each_password_is_made_once_for_the_containers_and_for_nobody_else(clone: Clone) -> None:
    """The containers' users differ, so the files can be read by all; the folder can be entered by its owner only."""
    clone.run("up")
    made = {name: (clone.secrets / name).read_text() for name in NAMES}
    clone.run("up")

    assert {name: (clone.secrets / name).read_text() for name in NAMES} == made
    assert len(set(made.values())) == len(NAMES)
    assert made["smtp_users"] == f"notifications:{made['smtp_password']}"
    assert {stat.S_IMODE((clone.secrets / name).stat().st_mode) for name in NAMES} == {0o444}
    assert stat.S_IMODE(clone.secrets.stat().st_mode) == 0o700
    assert sorted(path.name for path in clone.secrets.iterdir()) == sorted(NAMES)


def test_a_password_that_an_operator_wrote_can_be_read_by_the_containers(clone: Clone) -> None:
    clone.run("up")
    (clone.secrets / "valkey_password").unlink()
    (clone.secrets / "valkey_password").touch(mode=0o600)
    clone.run("up")

    assert stat.S_IMODE((clone.secrets / "valkey_password").stat().st_mode) == 0o444


def test_lost_passwords_are_not_replaced_while_their_data_exists(clone: Clone) -> None:
    clone.docker.answer("volume", "ls", prints="mailpit\nusers-postgres\n")

    for _ in range(2):
        run = clone.run("up")
        assert run.returncode == 1
        assert "does not exist, but the data of the stack orderly exists" in run.stderr
        assert "make up-reset" in run.stderr
    assert not clone.started()
    assert not clone.secrets.exists()


def test_one_lost_password_is_named(clone: Clone) -> None:
    clone.run("up")
    clone.docker.answer("volume", "ls", prints="kafka\n")
    (clone.secrets / "orders_kafka_password").unlink()

    assert "lacks orders_kafka_password, but" in clone.run("up").stderr


def test_data_and_passwords_of_an_earlier_start_are_used_again(clone: Clone) -> None:
    clone.run("up")
    clone.docker.answer("volume", "ls", prints="kafka\norders-postgres\n")

    assert clone.run("up").returncode == 0


def test_a_second_clone_is_told_to_take_another_name(clone: Clone) -> None:
    clone.docker.answer("ps", "--all", prints="/elsewhere/orderly/deploy\n")

    run = clone.run("up")

    assert run.returncode == 1
    assert "A stack named orderly belongs to /elsewhere/orderly/deploy" in run.stderr
    assert "COMPOSE_PROJECT_NAME" in run.stderr
    assert not clone.started()


def test_a_stack_may_have_another_name(clone: Clone) -> None:
    run = clone.run("up", COMPOSE_PROJECT_NAME="second")

    (up,) = [command for command in clone.docker.commands() if "up" in command]
    assert up[:3] == ["compose", "--project-name", "second"]
    assert "docker compose -p second exec" in run.stdout


def test_a_taken_port_is_named_before_anything_starts(clone: Clone) -> None:
    with closing(socket.create_server(("127.0.0.1", clone.mail_page_port))):
        run = clone.run("up")

    assert run.returncode == 1
    assert run.stderr == f"Port {clone.mail_page_port} is in use. Set ORDERLY_MAIL_PAGE_PORT to another port.\n"
    assert not clone.started()
    assert not clone.secrets.exists()


def test_the_ports_of_the_running_stack_are_its_own(clone: Clone) -> None:
    clone.docker.answer("ps", "{{.Ports}}", prints=f"127.0.0.1:{clone.gateway_port}->8080/tcp\n")
    with closing(socket.create_server(("127.0.0.1", clone.gateway_port))):
        assert clone.run("up").returncode == 0


@pytest.mark.parametrize("port", ["abc", "0", "70000"])
def test_a_setting_that_is_not_a_port_is_named(clone: Clone, port: str) -> None:
    run = clone.run("up", ORDERLY_GATEWAY_PORT=port)
    assert run.stderr == f"ORDERLY_GATEWAY_PORT={port}: a port is a number from 1 to 65535\n"


def test_an_engine_that_is_missing_or_too_old_is_named(clone: Clone) -> None:
    clone.docker.answer("compose", "version", prints="v2.20.2\n")
    assert "Docker's compose plugin is v2.20.2, and 2.26 or newer is needed" in clone.run("up").stderr
    clone.docker.answer("compose", "version", exits=1)
    assert "Docker lacks its compose plugin" in clone.run("up").stderr
    clone.docker.answer("version", prints="24.0.9\n")
    assert "Docker's engine is 24.0.9, and 25.0 or newer is needed" in clone.run("up").stderr
    clone.docker.answer("version", exits=1)
    assert "No Docker engine answers" in clone.run("up").stderr
    (clone.docker.folder / "docker").unlink()
    assert "Docker is not installed" in clone.run("up").stderr
    assert not clone.started()


def test_the_last_lines_of_what_failed_are_printed(clone: Clone) -> None:
    containers = [
        {"Name": "orderly-users-migrate-1", "Service": "users-migrate", "State": "exited", "Status": "Exited (1)"},
        {"Name": "orderly-users-database-1", "Service": "users-database", "State": "exited", "Status": "Exited (0)"},
        {"Name": "orderly-kafka-1", "Service": "kafka", "State": "running", "Status": "Up", "Health": "unhealthy"},
    ]
    containers[0]["ExitCode"] = 1  # type: ignore[assignment]  # a number among texts
    clone.docker.answer("ps", "json", prints="".join(f"{json.dumps(each)}\n" for each in containers))
    clone.docker.answer("up", exits=17)
    clone.docker.answer("logs", "orderly-users-migrate-1", prints="first\npassword authentication failed\n")

    run = clone.run("up")

    assert run.returncode == 17
    assert "users-migrate (Exited (1)), its last lines:\n  first\n  password authentication failed\n" in run.stderr
    assert "kafka (Up), its last lines:" in run.stderr
    assert "users-database" not in run.stderr
    assert "API" not in run.stdout


@pytest.mark.parametrize("command", [["down", "--remove-orphans"], ["logs", "--follow"]])
def test_down_and_logs_need_neither_passwords_nor_the_file(clone: Clone, command: list[str]) -> None:
    assert clone.run(command[0]).returncode == 0
    assert clone.docker.commands() == [["compose", "--project-name", "orderly", *command]]


def test_reset_removes_data_whose_containers_are_gone_and_the_passwords(clone: Clone) -> None:
    clone.run("up")
    clone.docker.answer("volume", "ls", prints="orderly_kafka\norderly_users-postgres\n")

    assert clone.run("reset").returncode == 0

    assert clone.docker.commands()[-1] == ["volume", "rm", "orderly_kafka", "orderly_users-postgres"]
    assert not clone.secrets.exists()


def test_reset_keeps_the_passwords_of_data_that_it_could_not_remove(clone: Clone) -> None:
    clone.run("up")
    clone.docker.answer("volume", "ls", prints="orderly_kafka\n")
    clone.docker.answer("volume", "rm", exits=1)

    assert clone.run("reset").returncode == 1
    assert clone.secrets.exists()


def test_images_that_a_build_has_replaced_are_removed(clone: Clone) -> None:
    clone.run("up")
    assert clone.docker.commands()[-1] == ["image", "prune", "--force", "--filter", "label=orderly.project=orderly"]


def test_the_demo_needs_the_running_stack(clone: Clone) -> None:
    assert "Start it: make up" in clone.run("demo").stderr
    clone.docker.answer("ps", prints="gateway\nusers-postgres\n")

    assert clone.run("demo", "--invoices", "5").returncode == 0

    assert clone.docker.commands()[-1][-6:] == ["run", "--rm", "--no-deps", "demo", "--invoices", "5"]
