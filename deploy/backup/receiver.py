"""Receive a server's WAL: choose the incarnation that it belongs to, then become pg_receivewal."""

import os
import pwd
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from deploy.backup.archive import Incarnation, IncarnationRecord
from deploy.backup.server import (
    APPLICATION_NAME,
    SLOT,
    Identity,
    Server,
    Slot,
    create_slot,
    find_slot,
    identify,
)
from deploy.backup.wal import format_lsn
from deploy.local.postgres import binaries, system_user
from deploy.local.process import Program, signal_when_orphaned
from deploy.local.state import CHECKOUT
from shared.connection_errors import CONNECTION_ERRORS

ANOTHER_HISTORY = "another history: a restore elsewhere, a fail-over, or another server"
"""The reason of an incarnation whose server has another system identifier or timeline."""


@dataclass(frozen=True, kw_only=True)
class Continuation:
    """The incarnation to which received WAL is added."""

    incarnation: Incarnation
    is_new: bool
    """Whether the incarnation has just begun, so that it needs a base backup before it can be restored."""


async def prepare(server: Server) -> Continuation:
    """Return the incarnation that the server's WAL continues, and make sure that the server keeps WAL for it.

    It begins another incarnation if the current one cannot be continued without a gap. Repeating it changes nothing.
    """
    async with server.access.connection() as connection:
        identity = await identify(connection)
        slot = await find_slot(connection)
        current = server.archive.current()
        reason = _reason_for_new(current, identity, slot)
        if slot is None or slot.is_lost:
            await create_slot(connection, instead_of=slot)
    if current is not None and reason is None:
        return Continuation(incarnation=current, is_new=False)
    begun = server.archive.begin_incarnation(record_of(identity, reason=reason or "first"), after=current)
    return Continuation(incarnation=begun, is_new=True)


def record_of(identity: Identity, *, reason: str) -> IncarnationRecord:
    """Return the record of an incarnation that begins with what the server writes now."""
    return IncarnationRecord(
        system_identifier=identity.system_identifier,
        timeline=identity.timeline,
        segment_bytes=identity.segment_bytes,
        started_at=identity.now,
        reason=reason,
    )


def belongs_to(identity: Identity, incarnation: Incarnation) -> bool:
    """Return whether the server writes the history that the incarnation holds."""
    record = incarnation.record
    return (record.system_identifier, record.timeline) == (identity.system_identifier, identity.timeline)


def _reason_for_new(current: Incarnation | None, identity: Identity, slot: Slot | None) -> str | None:
    """Return why the current incarnation cannot be continued; None if it can."""
    if current is None or not belongs_to(identity, current):
        return "first" if current is None else ANOTHER_HISTORY
    if slot is None:
        return "no replication slot: the server may have removed WAL that the archive lacks"
    if slot.is_lost:
        return "replication slot lost: the receiver was away for more than max_slot_wal_keep_size"
    kept_from = (slot.kept_from or 0) // identity.segment_bytes * identity.segment_bytes
    if (received := current.wal.next_position()) is not None and received < kept_from:
        return f"gap: the archive ends at {format_lsn(received)}, the server begins at {format_lsn(kept_from)}"
    return None


def become_pg_receivewal(server: Server, continuation: Continuation) -> None:
    """Replace this process by pg_receivewal. It ends when the connection does; whoever started it starts it again.

    In one process, because the supervisor's signals and its restarts concern pg_receivewal alone, and because Python
    would take 50 MB for each server.
    """
    program = binaries() / "pg_receivewal"
    command = [
        str(program),
        f"--dbname={server.access.conninfo(application_name=APPLICATION_NAME)}",
        f"--directory={continuation.incarnation.wal.folder}",
        f"--slot={SLOT}",
        "--synchronous",
        "--no-loop",
        "--no-password",
    ]
    _become_server_user()
    sys.stdout.flush()
    os.execve(program, command, {**os.environ, **server.access.environment()})  # noqa: S606 - needs no shell


def _become_server_user() -> None:
    """Change to the user that restores the received files."""
    if (user := system_user()) is None:
        return
    entry = pwd.getpwnam(user)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    if ask_the_kernel := signal_when_orphaned(signal.SIGTERM, parent=os.getppid()):
        ask_the_kernel()


def receiver_program(
    service: str, *, admin_url: str, environment: Mapping[str, str], python: str = sys.executable
) -> Program:
    """Return the program that archives the WAL of a server of the local system. `environment`: its BACKUP_*."""

    async def receives() -> bool:
        streaming = "SELECT true FROM pg_stat_replication WHERE application_name = $1 AND state = 'streaming'"
        # The server may exit at any moment.
        with suppress(*CONNECTION_ERRORS):
            connection = await asyncpg.connect(admin_url, timeout=2)
            try:
                return bool(await connection.fetchval(streaming, APPLICATION_NAME))
            finally:
                await connection.close()
        return False

    return Program(
        name=f"{service}-archive",
        command=[python, "-m", "deploy.backup", "receive", f"--service={service}"],
        environment={"PYTHONPATH": str(CHECKOUT), **environment},
        ready=receives,
        address=str(Path(environment["BACKUP_ARCHIVE"]) / service),
        notes="base backups and WAL; `make backup`, `make restore`",
    )
