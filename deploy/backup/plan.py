"""Choose what a restore starts from: a base backup that is intact, and WAL that reaches the time that is asked for."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from deploy.backup.archive import BaseBackup, Incarnation, ServiceArchive
from deploy.backup.base_backup import verify
from deploy.backup.errors import NoBackup, TargetAfterEnd, WalGap
from deploy.backup.recovery_wal import Segments, end_of, ends_with_shutdown, linked, readable_segments
from deploy.backup.wal import Run, histories


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The base backup and the WAL of a restore, and its end."""

    incarnation: Incarnation
    backup: BaseBackup
    archived: Run
    """The archived WAL from the base backup on."""
    segments: Segments
    """The WAL that recovery reads: the archived WAL, and what the data folder has beyond it."""
    to: datetime | None
    """The time at which recovery stops; None for the end of the archive."""
    damaged: list[BaseBackup] = field(default_factory=list)
    """Newer base backups that cannot be used."""

    @property
    def minimum_end(self) -> int:
        """The position that recovery to the end of the archive has to reach: the last complete segment."""
        last = self.archived.last_complete if self.archived.files else None
        return self.backup.start if last is None else last * self.incarnation.wal.segment_bytes


async def plan_restore(archive: ServiceArchive, *, to: datetime | None, data_folder: Path) -> Plan:
    """Choose the base backup and the WAL for a restore to a time, or to the newest state; change nothing but records.

    `data_folder`: the one that the restore will replace, if it exists.

    Raises: NoBackup, WalGap, TargetAfterEnd.
    """
    damaged: list[BaseBackup] = []
    for incarnation, backup in _candidates(archive, to=to):
        checked = await verify(backup, log=archive.log)
        if not checked.is_verified:
            damaged.append(checked)
            continue
        archived = incarnation.wal.run_from(backup.start)
        segments = await readable_segments(archive, incarnation, archived, start=backup.start, data_folder=data_folder)
        target = await _checked_target(archive, incarnation, archived, segments, to=to)
        return Plan(
            incarnation=incarnation,
            backup=checked,
            archived=archived,
            segments=segments,
            to=target,
            damaged=damaged,
        )
    raise NoBackup(_why_none(archive, to=to, damaged=damaged))


@contextmanager
def recovery_source(archive: ServiceArchive, plan: Plan) -> Iterator[Path]:
    """Yield a folder of links to what recovery may read: the checked WAL, and all histories.

    The histories of all incarnations, so that the restored server gives its timeline a number that none of them has.
    """
    with linked(plan.incarnation, plan.segments) as source:
        for incarnation in archive.incarnations():
            for history in histories(incarnation.wal.folder):
                (source / history.name).unlink(missing_ok=True)
                (source / history.name).symlink_to(history.absolute())
        yield source


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
    archive: ServiceArchive, incarnation: Incarnation, archived: Run, segments: Segments, *, to: datetime | None
) -> datetime | None:
    """Return where recovery stops: at the target, or None if that is the end of the WAL."""
    if to is None and archived.missing is None:
        return None
    end = await end_of(archive, incarnation, segments)
    if to is not None and end is not None and to < end:
        return to
    shown = f"{end.isoformat()}" if end else "no transaction after the base backup"
    if archived.missing is not None:
        raise WalGap(
            f"WAL segment {incarnation.wal.name_of(archived.missing)} of {archive.service} is missing. What comes"
            f" before it can be restored, with a time before its last transaction: {shown}."
        )
    if await ends_with_shutdown(archive, incarnation, segments):
        # Nothing happened between the end and the target.
        return None
    raise TargetAfterEnd(
        f"The archive of {archive.service} ends before {to.isoformat() if to else 'now'}: {shown}. Name an earlier"
        " time, or none for the newest state."
    )


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
