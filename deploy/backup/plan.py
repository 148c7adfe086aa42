"""Choose what a restore starts from: a base backup that is intact, and WAL that reaches the time that is asked for."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from deploy.backup import programs
from deploy.backup.archive import BaseBackup, Incarnation, ServiceArchive, give_to_server_user
from deploy.backup.base_backup import verify
from deploy.backup.errors import NoBackup, TargetAfterEnd, WalGap
from deploy.backup.wal import Run, histories


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The base backup and the WAL of a restore, and its end."""

    incarnation: Incarnation
    backup: BaseBackup
    wal: Run
    to: datetime | None
    """The time at which recovery stops; None for the end of the archive."""
    damaged: list[BaseBackup] = field(default_factory=list)
    """Newer base backups that cannot be used."""

    @property
    def minimum_end(self) -> int:
        """The position that recovery to the end of the archive has to reach: the last complete segment."""
        last = self.wal.last_complete if self.wal.files else None
        return self.backup.start if last is None else last * self.incarnation.wal.segment_bytes


async def plan_restore(archive: ServiceArchive, *, to: datetime | None) -> Plan:
    """Choose the base backup and the WAL for a restore to a time, or to the newest state; change nothing but records.

    Raises: NoBackup, WalGap, TargetAfterEnd.
    """
    damaged: list[BaseBackup] = []
    for incarnation, backup in _candidates(archive, to=to):
        checked = await verify(backup, log=archive.log)
        if not checked.is_verified:
            damaged.append(checked)
            continue
        wal = incarnation.wal.run_from(backup.start)
        target = await _checked_target(archive, incarnation, wal, to=to)
        return Plan(incarnation=incarnation, backup=checked, wal=wal, to=target, damaged=damaged)
    raise NoBackup(_why_none(archive, to=to, damaged=damaged))


@asynccontextmanager
async def recovery_source(archive: ServiceArchive, plan: Plan) -> AsyncIterator[Path]:
    """Yield a folder of links to what recovery may read: the checked WAL, and all histories.

    The histories of all incarnations, so that the restored server gives its timeline a number that none of them has.
    """
    with TemporaryDirectory(prefix="orderly-restore-") as folder:
        source = Path(folder)
        give_to_server_user(source)
        link_wal(plan.incarnation, plan.wal, source)
        for incarnation in archive.incarnations():
            for history in histories(incarnation.wal.folder):
                (source / history.name).unlink(missing_ok=True)
                (source / history.name).symlink_to(history.absolute())
        yield source


def link_wal(incarnation: Incarnation, wal: Run, folder: Path) -> None:
    """Link segments by the names that PostgreSQL asks for, the partial one too."""
    for number, file in wal.files.items():
        (folder / incarnation.wal.name_of(number)).symlink_to(file.absolute())


def _candidates(archive: ServiceArchive, *, to: datetime | None) -> list[tuple[Incarnation, BaseBackup]]:
    """Return the base backups that may be used, the best first."""
    incarnations = archive.incarnations()
    if to is None:
        # An older incarnation ends before the current one began.
        incarnations = incarnations[-1:]
    found = [
        (incarnation, backup)
        for incarnation in incarnations
        for backup in incarnation.backups()
        if to is None or backup.record.finished_at <= to
    ]
    return sorted(found, key=lambda each: each[1].record.finished_at, reverse=True)


async def _checked_target(
    archive: ServiceArchive, incarnation: Incarnation, wal: Run, *, to: datetime | None
) -> datetime | None:
    """Return where recovery stops: at the target, or None if that is the end of the archive."""
    if to is None and wal.missing is None:
        return None
    end = await end_of(archive, incarnation, wal)
    if to is not None and end is not None and to < end:
        return to
    shown = f"{end.isoformat()}" if end else "no transaction after the base backup"
    if wal.missing is not None:
        raise WalGap(
            f"WAL segment {incarnation.wal.name_of(wal.missing)} of {archive.service} is missing. What comes before it"
            f" can be restored, with a time before its last transaction: {shown}."
        )
    if wal.files and await _was_shut_down(archive, incarnation, wal):
        # Nothing happened between the end and the target.
        return None
    raise TargetAfterEnd(
        f"The archive of {archive.service} ends before {to.isoformat() if to else 'now'}: {shown}. Name an earlier"
        " time, or none for the newest state."
    )


async def end_of(archive: ServiceArchive, incarnation: Incarnation, wal: Run) -> datetime | None:
    """Return when the last archived transaction ended; None without one."""
    with TemporaryDirectory(prefix="orderly-restore-") as folder:
        give_to_server_user(Path(folder))
        link_wal(incarnation, wal, Path(folder))
        for number in reversed(wal.files):
            segment = Path(folder, incarnation.wal.name_of(number))
            if ends := await programs.transaction_ends(segment, log=archive.log):
                return ends[-1]
    return None


async def _was_shut_down(archive: ServiceArchive, incarnation: Incarnation, wal: Run) -> bool:
    with TemporaryDirectory(prefix="orderly-restore-") as folder:
        give_to_server_user(Path(folder))
        link_wal(incarnation, wal, Path(folder))
        return await programs.ends_with_shutdown(Path(folder, incarnation.wal.name_of(wal.last)), log=archive.log)


def _why_none(archive: ServiceArchive, *, to: datetime | None, damaged: list[BaseBackup]) -> str:
    service = archive.service
    verified = [each for incarnation in archive.incarnations() for each in incarnation.verified_backups()]
    hint = f" Damaged: {', '.join(each.name for each in damaged)}." if damaged else ""
    if not verified:
        return f"The archive of {service} has no verified base backup ({archive.folder}).{hint}"
    first = min(each.record.finished_at for each in verified)
    if to is not None:
        return f"No verified base backup of {service} ended before {to.isoformat()}; the first ended at {first}.{hint}"
    return (
        f"The current incarnation of {service} has no verified base backup. Older ones can be restored to a time from"
        f" {first} on, without what came after them.{hint}"
    )
