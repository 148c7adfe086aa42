"""Replace a service's data folder by its state at a time, or by its newest state."""

import asyncio
import shutil
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psutil

from deploy.backup import programs
from deploy.backup.archive import (
    UNFINISHED,
    BaseBackup,
    Incarnation,
    folder_name,
    give_to_server_user,
)
from deploy.backup.base_backup import take_base_backup
from deploy.backup.errors import BackupError, DiskFull, ServerRunning
from deploy.backup.plan import Plan, plan_restore
from deploy.backup.receiver import record_of
from deploy.backup.recovery import Recovered, recovered
from deploy.backup.server import Server, create_slot
from deploy.backup.wal import format_lsn, history_of
from deploy.local.postgres import binaries, open_path_for_user

FREE_BYTES = 256 * 1024 * 1024
"""Free disk space that a restore needs beside the base backup, for the WAL that it applies."""
PROBE_TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class Restored:
    """The result of a restore."""

    service: str
    backup: BaseBackup
    from_incarnation: str
    to: datetime | None
    """The time that was asked for; None for the newest state."""
    reached_lsn: str
    last_transaction_at: datetime | None
    former_data: Path | None
    """The former data folder under its new name; None if there was none."""
    incarnation: str
    """The incarnation that the restored server begins."""
    warnings: list[str] = field(default_factory=list)


async def restore(server: Server, *, to: datetime | None = None, archived: bool = True) -> Restored:
    """Restore a server that does not run, to a time or to the newest state, and take a base backup of the result.

    The former data folder is kept under another name. After an error it is in its place, unchanged. `archived`: keep
    WAL for the receiver from now on.

    Raises: ServerRunning, Busy, NoBackup, WalGap, TargetAfterEnd, WalDamaged, DiskFull, BackupError.
    """
    folder = server.data_folder
    if folder is None:
        raise BackupError(f"The data folder of {server.service} is not known here.")
    await check_stopped(server)
    archive = server.archive
    with archive.locked():
        plan = await plan_restore(archive, to=to, data_folder=folder)
        _check_space(plan, folder)
        unfinished = folder.with_name(f"{folder.name}{UNFINISHED}-restore")
        await asyncio.to_thread(shutil.rmtree, unfinished, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            open_path_for_user(unfinished, binaries() / "postgres")
            await programs.copy_data(plan.backup, unfinished, log=archive.log)
            async with recovered(archive, plan, unfinished, durable=server.durable) as promoted:
                incarnation, warnings = await _begin_history(server, promoted, unfinished, archived=archived)
        except BaseException:
            await asyncio.to_thread(shutil.rmtree, unfinished, ignore_errors=True)
            raise
        former = _swap(folder, unfinished)
        incarnation = archive.complete(incarnation)
    warnings = [*(f"Base backup {each.name} is damaged and was not used." for each in plan.damaged), *warnings]
    return Restored(
        service=server.service,
        backup=plan.backup,
        from_incarnation=plan.incarnation.name,
        to=to,
        reached_lsn=format_lsn(promoted.reached),
        last_transaction_at=promoted.last_transaction_at,
        former_data=former,
        incarnation=incarnation.name,
        warnings=warnings,
    )


async def check_stopped(server: Server) -> None:
    """Raise ServerRunning if the server runs: by its data folder's pid file, or because its port answers."""
    hint = "Stop it, and the service, before a restore."
    if server.data_folder is not None and (pid := _pid_of(server.data_folder)) is not None:
        raise ServerRunning(f"The server of {server.service} runs (pid {pid}). {hint}")
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
            _, writer = await asyncio.open_connection(server.access.host, server.access.port)
        writer.close()
        raise ServerRunning(
            f"The server of {server.service} runs: {server.access.host}:{server.access.port} answers. {hint}"
        )


def _pid_of(data_folder: Path) -> int | None:
    """Return the pid of the server that uses the folder; None if a killed one has left its file."""
    with suppress(FileNotFoundError, ValueError, IndexError, psutil.Error):
        pid = int((data_folder / "postmaster.pid").read_text().splitlines()[0])
        process = psutil.Process(pid)
        if process.name() == "postgres" and process.status() != psutil.STATUS_ZOMBIE:
            return pid
    return None


def _check_space(plan: Plan, folder: Path) -> None:
    """Raise DiskFull if the restored data would not fit beside the former data."""
    existing = next(parent for parent in folder.parents if parent.exists())
    free = shutil.disk_usage(existing).free
    needed = plan.backup.record.size_bytes + FREE_BYTES
    if free < needed:
        raise DiskFull(
            f"{existing} has {free // 2**20} MiB free, and a restore of {plan.backup.name} needs {needed // 2**20} MiB."
            " The former data folder is kept; move it to another disk if you do not need it here."
        )


async def _begin_history(
    server: Server, promoted: Recovered, data_folder: Path, *, archived: bool
) -> tuple[Incarnation, list[str]]:
    """Make an incarnation of the restored server, and take its first base backup; return it, and warnings."""
    archive = server.archive
    incarnation = archive.make_incarnation(record_of(promoted.identity, reason="restore"))
    history = history_of(data_folder, promoted.identity.timeline)
    kept = incarnation.wal.folder / history.name
    shutil.copyfile(history, kept)
    give_to_server_user(kept)
    if archived:
        # Before the base backup, so that the receiver gets all WAL from the backup's beginning on.
        async with promoted.access.connection() as connection:
            await create_slot(connection)
    try:
        await take_base_backup(archive, promoted.access, incarnation=incarnation, durable=server.durable)
    except BackupError as error:
        return incarnation, [f"The restored server has no base backup yet; take one once it runs: {error}"]
    return incarnation, []


def _swap(folder: Path, restored: Path) -> Path | None:
    """Put the restored folder in its place, and return the former one's new name."""
    former = None
    if folder.exists():
        former = folder.with_name(f"{folder.name}.replaced-{folder_name(datetime.now(UTC))}")
        folder.rename(former)
    restored.rename(folder)
    return former
