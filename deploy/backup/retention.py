"""Remove base backups that are no longer needed, and the WAL that only they needed."""

import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from deploy.backup import programs
from deploy.backup.archive import REMOVED, UNFINISHED, BaseBackup, Incarnation, ServiceArchive, remove_folder

DEFAULT_KEEP = 7


@dataclass(frozen=True, kw_only=True)
class Retention:
    """The rules for what is kept. A base backup is removed if neither rule needs it."""

    keep: int = DEFAULT_KEEP
    """The number of verified base backups to keep, at least one."""
    keep_days: float = 0
    """Keep what a restore to any time in the last days needs."""


@dataclass(frozen=True, kw_only=True)
class Purged:
    """The names of what was removed."""

    backups: list[str] = field(default_factory=list)
    incarnations: list[str] = field(default_factory=list)
    wal_segments: int = 0


async def purge(archive: ServiceArchive, retention: Retention, *, now: datetime | None = None) -> Purged:
    """Remove what the retention does not need. The newest verified base backup always stays. Raises: Busy.

    An interrupted purge is completed by the next one.
    """
    with archive.locked():
        _remove_leftovers(archive)
        kept = _needed(archive, retention, now=now or datetime.now(UTC))
        if not kept:
            return Purged()
        backups, incarnations, segments = [], [], 0
        current = archive.current()
        oldest = min(backup.record.finished_at for backup in kept)
        names = {backup.folder for backup in kept}
        for incarnation in archive.incarnations():
            for backup in incarnation.backups():
                # A damaged one that is newer stays, for whoever wants to know what happened to it.
                if backup.folder not in names and (backup.is_verified or backup.record.finished_at < oldest):
                    remove_folder(backup.folder)
                    backups.append(f"{incarnation.name}/{backup.name}")
            if not incarnation.verified_backups() and incarnation != current and _ended_before(incarnation, oldest):
                remove_folder(incarnation.folder)
                incarnations.append(incarnation.name)
                continue
            segments += await _purge_wal(archive, incarnation)
        return Purged(backups=backups, incarnations=incarnations, wal_segments=segments)


def _needed(archive: ServiceArchive, retention: Retention, *, now: datetime) -> list[BaseBackup]:
    """Return the base backups to keep."""
    verified = [backup for incarnation in archive.incarnations() for backup in incarnation.verified_backups()]
    verified.sort(key=lambda backup: backup.record.finished_at)
    needed = verified[-max(retention.keep, 1) :]
    if retention.keep_days:
        begin = now - timedelta(days=retention.keep_days)
        # The last one before the period, too: a restore to the period's beginning starts with it.
        first = max((index for index, each in enumerate(verified) if each.record.finished_at <= begin), default=0)
        needed = max(needed, verified[first:], key=len)
    return needed


def _ended_before(incarnation: Incarnation, moment: datetime) -> bool:
    """Return whether the incarnation began before the oldest backup that stays, and so cannot be restored any more."""
    return incarnation.record.started_at < moment


async def _purge_wal(archive: ServiceArchive, incarnation: Incarnation) -> int:
    """Remove the segments that come before the oldest base backup, and return their number."""
    verified = incarnation.verified_backups()
    if not verified:
        # The first base backup of the incarnation is still to come.
        return 0
    wal = incarnation.wal
    before = len(wal.segments())
    oldest_kept = wal.name_of(min(backup.start for backup in verified) // wal.segment_bytes)
    await programs.remove_old_wal(wal.folder, oldest_kept, log=archive.log)
    return before - len(wal.segments())


def _remove_leftovers(archive: ServiceArchive) -> None:
    """Delete what a killed backup or purge has left."""
    for suffix in (UNFINISHED, REMOVED):
        for folder in [*archive.folder.glob(f"*{suffix}"), *archive.folder.glob(f"*/base/*{suffix}")]:
            if folder.is_dir():
                shutil.rmtree(folder)
