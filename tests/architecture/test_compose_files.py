"""The scripts of deploy/compose.yaml work: databases, passwords, signing keys, tasks."""

import asyncio
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import asyncpg
import pytest

from deploy.compose.secrets_file import NAMES, write_secrets
from deploy.compose.signing_keys import write_signing_keys
from deploy.local.postgres import binaries
from services.users.access_tokens import load_signing_keys
from tests.architecture.composed import COMPOSE_FILE, containers
from tests.architecture.dockerfile import copy_into
from tests.architecture.source import CHECKOUT, SERVICES
from tests.harness.server_host import local_process

CREATE_DATABASES = COMPOSE_FILE.parent / "compose" / "create-databases.sh"


async def test_each_role_can_access_its_own_database_only(tmp_path: Path) -> None:
    async with local_process("postgres", tmp_path / "postgres") as url:
        at = urlsplit(url)
        environment = {
            "PATH": f"{binaries()}:{os.environ['PATH']}",
            "PGHOST": at.hostname or "",
            "PGPORT": str(at.port),
            "PGPASSWORD": at.password or "",
            "POSTGRES_USER": at.username or "",
            **{f"{service.upper()}_DATABASE_PASSWORD": _password_of(service) for service in SERVICES},
        }
        script = await asyncio.create_subprocess_exec(CREATE_DATABASES, env=environment)
        assert await script.wait() == 0

        for role in SERVICES:
            assert await _owner_of_a_new_table(at, role=role, database=role) == role
            for other in set(SERVICES) - {role}:
                with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied for database"):
                    await _owner_of_a_new_table(at, role=role, database=other)


def test_secrets_are_made_once_and_only_their_owner_can_read_them(tmp_path: Path) -> None:
    file = tmp_path / ".env"

    assert write_secrets(file)
    made = file.read_text()
    assert not write_secrets(file)

    assert file.read_text() == made
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    values = dict(line.split("=") for line in made.splitlines())
    assert tuple(values) == NAMES
    assert len(set(values.values())) == len(NAMES)
    assert [value for value in values.values() if not re.fullmatch(r"[\w-]{32}", value)] == []


def test_the_users_service_can_load_the_signing_keys(tmp_path: Path) -> None:
    file = tmp_path / "signing-keys.json"

    assert write_signing_keys(file)
    made = file.read_bytes()
    assert not write_signing_keys(file)

    assert file.read_bytes() == made
    assert len(load_signing_keys(file).keys) == 1
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_orders_image_can_print_the_catalogue(tmp_path: Path) -> None:
    """The image gets only what compose mounts into it, and nothing else of the checkout."""
    copy_into(tmp_path, "orders")
    mounted = [volume.split(":") for volume in containers()["catalogue"]["volumes"] if volume.startswith(".")]
    (tmp_path / "deploy").mkdir()
    for source, target, _ in mounted:
        (tmp_path / target.removeprefix("/app/")).symlink_to((CHECKOUT / "deploy" / source).resolve())

    command = [sys.executable, "-m", "deploy.demo", "catalogue"]
    result = subprocess.run(command, cwd=tmp_path, env={"PATH": os.environ["PATH"]}, capture_output=True, check=False)

    assert result.returncode == 0, result.stderr
    assert result.stdout.count(b'"sku"') > 1_000


def test_the_shell_scripts_of_tasks_have_valid_syntax() -> None:
    scripts = {
        name: each["entrypoint"][2] for name, each in containers().items() if each.get("entrypoint", [""])[0] == "sh"
    }
    invalid = [
        name for name, script in scripts.items() if subprocess.run(["/bin/sh", "-nc", script], check=False).returncode
    ]

    assert scripts.keys() == {"admin", "catalogue"}
    assert invalid == []


def _password_of(role: str) -> str:
    """Return a password with every character that SQL treats specially."""
    return f'it\'s; "{role}"'


async def _owner_of_a_new_table(at: SplitResult, *, role: str, database: str) -> str:
    connection = await asyncpg.connect(
        host=at.hostname, port=at.port, user=role, password=_password_of(role), database=database
    )
    try:
        await connection.execute("CREATE TABLE mine (id int)")
        return str(await connection.fetchval("SELECT tableowner FROM pg_tables WHERE tablename = 'mine'"))
    finally:
        await connection.close()
