"""Take a base backup of a running server, and verify base backups again later."""

import asyncio
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deploy.backup import programs
from deploy.backup.archive import (
    UNFINISHED,
    BackupRecord,
    BaseBackup,
    Incarnation,
    ServiceArchive,
    folder_name,
    make_private_folder,
)
from deploy.backup.errors import BackupError, NotArchiving
from deploy.backup.receiver import ANOTHER_HISTORY, belongs_to, record_of
from deploy.backup.server import Access, Identity, Server, identify


async def back_up(server: Server) -> BaseBackup:
    """Take and verify a base backup of a running server. Raises: Busy, NotArchiving, DiskFull, BackupError.

    Without a receiver the archive has no later WAL: such a backup can be restored to its own end only.
    """
    with server.archive.locked():
        return await take_base_backup(server.archive, server.access, durable=server.durable)


async def take_base_backup(
    archive: ServiceArchive, access: Access, *, incarnation: Incarnation | None = None, durable: bool = True
) -> BaseBackup:
    """Take and verify a base backup; the caller holds the archive's lock. It gets its name when it is verified.

    `incarnation`: Where it goes. Default: the current one, or another one if the server has begun another history.
    """
    async with access.connection() as connection:
        before = await identify(connection)
    incarnation = incarnation or _incarnation_of(archive, before)
    folder = incarnation.base / folder_name(before.now.astimezone(UTC))
    with _unfinished(folder) as unfinished:
        data = unfinished / "data"
        await programs.base_backup(access, data, log=archive.log, durable=durable)
        async with access.connection() as connection:
            after = await identify(connection)
        if not belongs_to(after, incarnation):
            raise NotArchiving(f"The server of {archive.service} has begun another history meanwhile. Try again.")
        await programs.verify_backup(data, log=archive.log)
        start_lsn, end_lsn = _wal_range(data, timeline=incarnation.record.timeline)
        record = BackupRecord(
            started_at=before.now,
            finished_at=after.now,
            timeline=incarnation.record.timeline,
            start_lsn=start_lsn,
            end_lsn=end_lsn,
            size_bytes=await asyncio.to_thread(_size_of, data),
            verified_at=datetime.now(UTC),
        )
        record.write(unfinished / "backup.json")
    return BaseBackup(folder=folder, record=record)


def _incarnation_of(archive: ServiceArchive, identity: Identity) -> Incarnation:
    current = archive.current()
    if current is not None and belongs_to(identity, current):
        return current
    reason = "first" if current is None else ANOTHER_HISTORY
    return archive.begin_incarnation(record_of(identity, reason=reason), after=current)


async def verify(backup: BaseBackup, *, log: Path) -> BaseBackup:
    """Verify a base backup again, and store the result. Returns it with its new record."""
    try:
        await programs.verify_backup(backup.data, log=log)
    except BackupError:
        damaged_at = backup.record.damaged_at or datetime.now(UTC)
        return backup.with_record(backup.record.model_copy(update={"damaged_at": damaged_at}))
    return backup.with_record(
        backup.record.model_copy(update={"verified_at": datetime.now(UTC), "damaged_at": None}),
    )


async def damage_of_wal(incarnation: Incarnation, backup: BaseBackup, *, log: Path) -> str | None:
    """Return what is wrong with the WAL from a base backup to the end of the archive; None if nothing is."""
    run = incarnation.wal.run_from(backup.start)
    if run.missing is not None:
        return f"segment {incarnation.wal.name_of(run.missing)} is missing or has another size"
    complete = run.last_complete if run.files else None
    if complete is None:
        return None
    return await programs.first_damage(
        incarnation.wal.folder,
        start=backup.record.start_lsn,
        end=(complete + 1) * incarnation.wal.segment_bytes,
        timeline=incarnation.record.timeline,
        log=log,
    )


@contextmanager
def _unfinished(folder: Path) -> Iterator[Path]:
    """Yield a new folder that gets its name at the end of the block, or is deleted after an error."""
    unfinished = folder.with_name(folder.name + UNFINISHED)
    make_private_folder(unfinished)
    try:
        yield unfinished
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    unfinished.rename(folder)


def _wal_range(data: Path, *, timeline: int) -> tuple[str, str]:
    """Return the positions between which the backup needs WAL to be consistent."""
    ranges: list[dict[str, Any]] = json.loads((data / "backup_manifest").read_text())["WAL-Ranges"]
    (found,) = [each for each in ranges if each["Timeline"] == timeline]
    return found["Start-LSN"], found["End-LSN"]


def _size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
