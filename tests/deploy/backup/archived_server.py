"""A small PostgreSQL server with its receiver and its archive, which tests destroy and restore."""

import asyncio
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg

from deploy.backup.archive import ServiceArchive
from deploy.backup.lag import measure
from deploy.backup.receiver import receiver_program
from deploy.backup.restore import Restored, restore
from deploy.backup.server import Access, Mode, Server, archive_settings, ensure_archive_role
from deploy.backup.wal import parse_lsn
from deploy.local.ports import free_port
from deploy.local.postgres import Postgres
from deploy.local.process import Process, start_process
from deploy.local.state import CHECKOUT
from deploy.local.supervisor import Backoff, Supervisor
from tests.harness.servers import memory_folder
from tests.harness.waiting import until

PASSWORD = "s3cret of the archive"
SERVICE = "shop"
SEGMENT_BYTES = 1024 * 1024


class SmallPostgres(Postgres):
    """A server with the smallest WAL segments, so that a test fills some in no time."""

    def _initdb(self) -> list[str | Path]:
        return [*super()._initdb(), "--wal-segsize=1"]


@dataclass(kw_only=True)
class ArchivedServer:
    """The server, and what a test does to it."""

    folder: Path
    postgres: Postgres
    mode: Mode
    max_slot_wal_keep_size: str
    reports: list[str] = field(default_factory=list)
    process: Process | None = None
    supervisor: Supervisor | None = None
    started_at: float = 0

    @property
    def archive(self) -> ServiceArchive:
        return ServiceArchive(folder=self.folder / "archive" / SERVICE)

    @property
    def server(self) -> Server:
        access = Access(host="127.0.0.1", port=self.postgres.port, password=PASSWORD)
        return Server(
            service=SERVICE, access=access, archive=self.archive, data_folder=self.postgres.folder, durable=False
        )

    @property
    def environment(self) -> dict[str, str]:
        """The BACKUP_* variables of the command line."""
        file = self.folder / "archive-password"
        file.write_text(PASSWORD)
        return {
            "BACKUP_ARCHIVE": str(self.archive.folder.parent),
            "BACKUP_SERVERS": json.dumps({SERVICE: f"127.0.0.1:{self.postgres.port}"}),
            "BACKUP_DATA_FOLDERS": json.dumps({SERVICE: str(self.postgres.folder)}),
            "BACKUP_PASSWORD_FILE": str(file),
            "BACKUP_WAL_ARCHIVE": self.mode,
        }

    async def start(self) -> None:
        """Start the server, then its receiver."""
        settings = archive_settings(self.mode, max_slot_wal_keep_size=self.max_slot_wal_keep_size)
        program = replace(self.postgres, settings={**self.postgres.settings, **settings}).program()
        log = self.folder / "server.log"
        self.started_at = time.time()
        self.process = await start_process(program, log=log, echo=lambda _name, _line: None)
        await self.process.wait_until_ready()
        await ensure_archive_role(self.postgres.admin_url, password=PASSWORD)
        if self.mode != "off":
            await self.start_receiver()

    async def start_receiver(self) -> None:
        program = receiver_program(SERVICE, admin_url=self.postgres.admin_url, environment=self.environment)
        self.supervisor = Supervisor(
            logs=self.folder,
            report=self.reports.append,
            echo=lambda name, line: self.reports.append(f"{name}: {line}"),
            on_change=lambda: None,
            backoff=Backoff(initial_seconds=0.05, max_seconds=0.2),
        )
        await self.supervisor.start(program)

    @property
    def receiver_log(self) -> str:
        return (self.folder / f"{SERVICE}-archive.log").read_text()

    async def stop_receiver(self) -> None:
        """Stop the receiver, and wait until a running server has noticed."""
        if self.supervisor is not None:
            await self.supervisor.stop([])
            self.supervisor = None
        if self.process is not None:
            await until(self._slot_is_free, what="the slot is free for another receiver")

    async def _slot_is_free(self) -> bool:
        async with self.connection() as connection:
            return not await connection.fetchval("SELECT true FROM pg_replication_slots WHERE active")

    async def kill_receiver(self) -> None:
        """Kill the receiver; its supervisor starts it again."""
        assert self.supervisor is not None
        for child in self.supervisor.children.values():
            with suppress(ProcessLookupError):
                os.kill(child.process.pid, signal.SIGKILL)

    async def stop(self) -> None:
        """Stop the server, which sends the rest of its WAL, then the receiver."""
        if self.process is not None:
            await self.process.stop()
            self.process = None
        await self.stop_receiver()

    async def kill(self) -> None:
        """Kill the server, and stop its receiver."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGKILL)
        await self.process.wait()
        self.process = None
        await self.stop_receiver()

    async def destroy(self) -> None:
        """Kill the server and delete its data."""
        await self.kill()
        shutil.rmtree(self.postgres.folder)

    async def restore(self, *, to: datetime | None = None) -> Restored:
        return await restore(self.server, to=to, archived=self.mode != "off")

    async def execute(self, statement: str) -> None:
        async with self.connection() as connection:
            await connection.execute(statement)

    async def values(self) -> list[int]:
        """Return the committed rows."""
        async with self.connection() as connection:
            return [row["value"] for row in await connection.fetch("SELECT value FROM entry ORDER BY value")]

    async def insert(self, value: int) -> datetime:
        """Commit a row, and return a time after the commit and before any other."""
        async with self.connection() as connection:
            await connection.execute("INSERT INTO entry VALUES ($1)", value)
            moment: datetime = await connection.fetchval("SELECT clock_timestamp()")
            return moment

    async def fill_segments(self, number: int) -> None:
        """Write so much WAL that this many segments are completed."""
        async with self.connection() as connection:
            for _ in range(number):
                await connection.execute("SELECT pg_logical_emit_message(true, '', 'x')")
                await connection.execute("SELECT pg_switch_wal()")

    async def archived(self) -> None:
        """Wait until the archive has everything that the server has written."""
        async with self.connection() as connection:
            written = parse_lsn(await connection.fetchval("SELECT pg_current_wal_flush_lsn()::text"))

        async def has_arrived() -> bool:
            measured = await measure(self.server.access)
            return measured.is_connected and (measured.received or 0) >= written

        await until(has_arrived, what="the WAL is archived")

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        connection = await asyncpg.connect(self.postgres.admin_url)
        try:
            yield connection
        finally:
            await connection.close()


@asynccontextmanager
async def archived_server(
    mode: Mode = "asynchronous", *, max_slot_wal_keep_size: str = "64MB"
) -> AsyncIterator[ArchivedServer]:
    """Start a server with a table `entry`, and its receiver."""
    # Not pytest's folder: the user that PostgreSQL runs as cannot enter its parents.
    with TemporaryDirectory(dir=memory_folder()) as name:
        folder = Path(name)
        postgres = SmallPostgres(
            folder=folder / "postgres" / "data",
            port=free_port(),
            password="admin",
            settings={
                "min_wal_size": "2MB",
                "max_wal_size": "8MB",
                "shared_buffers": "4MB",
                "hba_file": str(folder / "pg_hba.conf"),
            },
            durable=False,
        )
        made = ArchivedServer(
            folder=folder, postgres=postgres, mode=mode, max_slot_wal_keep_size=max_slot_wal_keep_size
        )
        await postgres.prepare(folder / "server.log")
        # Here PostgreSQL's user can read it, wherever the checkout is.
        shutil.copy(CHECKOUT / "deploy" / "compose" / "pg_hba.conf", folder)
        try:
            await made.start()
            await made.execute("CREATE TABLE entry (value int PRIMARY KEY)")
            yield made
        finally:
            await made.stop()


async def run_cli(server: ArchivedServer, *arguments: str) -> tuple[int, str]:
    """Run a command for the server, and return its exit status and its output."""
    return await run_command(server.environment, *arguments)


async def run_command(environment: dict[str, str], *arguments: str) -> tuple[int, str]:
    """Run a command, and return its exit status and its output."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "deploy.backup",
        *arguments,
        env={"PATH": os.environ["PATH"], **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()
