"""A server that begins a new timeline, as after a restore or a fail-over, raises the generation of its streams."""

from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg

from deploy.local.ports import free_port
from deploy.local.postgres import Postgres
from deploy.local.process import Process, start_process
from shared.database import open_database
from shared.messaging.outbox.outbox import record
from shared.messaging.storage import ddl
from shared.messaging.storage.generation import NUMBER_BITS
from tests.harness.rows import Rows
from tests.shared.effects import credit_reserved


async def _start(postgres: Postgres, folder: Path) -> Process:
    process = await start_process(postgres.program(), log=folder / "log", echo=lambda _name, _line: None)
    await process.wait_until_ready()
    return process


async def test_the_first_event_on_a_new_timeline_has_a_new_generation() -> None:
    event = credit_reserved()
    with TemporaryDirectory() as name:
        folder = Path(name)
        postgres = Postgres(folder=folder / "data", port=free_port(), password="admin", durable=False)
        await postgres.prepare(folder / "log")
        process = await _start(postgres, folder)
        try:
            admin = await asyncpg.connect(postgres.admin_url)
            await admin.execute(ddl.V1_UP)
            await admin.close()
            url = postgres.admin_url.replace("postgresql://", "postgresql+asyncpg://")
            database = open_database(url, service="users", pool_size=1)
            for _ in range(2):
                async with database.sessions.begin() as session:
                    record(session, event)
            await process.stop()
            # It recovers as from an archive that has no more WAL, and ends on a timeline of its own.
            (folder / "data" / "recovery.signal").touch()
            with (folder / "data" / "postgresql.auto.conf").open("a") as settings:
                settings.write("restore_command = 'false'\n")
            process = await _start(postgres, folder)
            async with database.sessions.begin() as session:
                record(session, event)
            sequences = await Rows(database.sessions).of("SELECT sequence FROM outbox ORDER BY id")
            generations = await Rows(database.sessions).of("SELECT generation, timeline FROM stream_generation")
            await database.close()
        finally:
            await process.stop()
    (_, first), (generation, second) = sorted(generations)
    assert (first, second) == ("00000001", "00000002")
    assert sequences == [(1,), (2,), ((generation << NUMBER_BITS) + 1,)]
