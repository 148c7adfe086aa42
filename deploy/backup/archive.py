"""The archive's folders: per service its incarnations, and in each the WAL and the base backups.

    <archive>/<service>/<incarnation>/incarnation.json
                                      wal/
                                      base/<UTC time>/backup.json
                                                      data/

An incarnation is one unbroken history of a server. A restore begins another one, because pg_receivewal continues behind
the newest segment in its folder, which a server that was set back has not reached.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

from pydantic import AwareDatetime, BaseModel, ConfigDict

from deploy.backup.errors import Busy
from deploy.backup.wal import WalFolder, parse_lsn
from deploy.local.postgres import binaries, open_path_for_user, system_user

UNFINISHED = ".unfinished"
REMOVED = ".removed"
"""The suffix of a folder that is being deleted, so that half of one never counts."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)

    @classmethod
    def read(cls, file: Path) -> Self:
        return cls.model_validate_json(file.read_text())

    def write(self, file: Path) -> None:
        unfinished = file.with_name(file.name + UNFINISHED)
        unfinished.touch(mode=0o600)
        give_to_server_user(unfinished)
        with unfinished.open("w") as opened:
            opened.write(self.model_dump_json(indent=2) + "\n")
            opened.flush()
            os.fsync(opened.fileno())
        unfinished.replace(file)


class IncarnationRecord(_Record):
    """The server whose history an incarnation holds, and why it began."""

    system_identifier: int
    timeline: int
    segment_bytes: int
    started_at: AwareDatetime
    reason: str


class BackupRecord(_Record):
    """The facts about a base backup. Its times are the server's."""

    started_at: AwareDatetime
    finished_at: AwareDatetime
    timeline: int
    start_lsn: str
    end_lsn: str
    size_bytes: int
    verified_at: AwareDatetime
    """The last success of pg_verifybackup."""
    damaged_at: AwareDatetime | None = None
    """The first failure of pg_verifybackup since then."""


@dataclass(frozen=True, kw_only=True)
class BaseBackup:
    """A complete base backup."""

    folder: Path
    record: BackupRecord

    @property
    def name(self) -> str:
        """The UTC time at which it began."""
        return self.folder.name

    @property
    def data(self) -> Path:
        """The copy of the server's data folder."""
        return self.folder / "data"

    @property
    def start(self) -> int:
        """The position from which recovery needs WAL."""
        return parse_lsn(self.record.start_lsn)

    @property
    def is_verified(self) -> bool:
        """Return whether the last verification succeeded."""
        return self.record.damaged_at is None

    def with_record(self, record: BackupRecord) -> "BaseBackup":
        """Store another record."""
        record.write(self.folder / "backup.json")
        return BaseBackup(folder=self.folder, record=record)


@dataclass(frozen=True, kw_only=True)
class Incarnation:
    """One unbroken history of a server."""

    folder: Path
    record: IncarnationRecord

    @property
    def name(self) -> str:
        """The incarnation's number."""
        return self.folder.name

    @property
    def base(self) -> Path:
        """The folder of the base backups."""
        return self.folder / "base"

    @property
    def wal(self) -> WalFolder:
        """The folder of the WAL."""
        return WalFolder(
            folder=self.folder / "wal", timeline=self.record.timeline, segment_bytes=self.record.segment_bytes
        )

    def backups(self) -> list[BaseBackup]:
        """Return the complete base backups, the oldest first."""
        found = []
        for file in sorted(self.base.glob("*/backup.json")):
            # Another process may remove one at any moment.
            with suppress(FileNotFoundError):
                if file.parent.suffix not in {UNFINISHED, REMOVED}:
                    found.append(BaseBackup(folder=file.parent, record=BackupRecord.read(file)))
        return found

    def verified_backups(self) -> list[BaseBackup]:
        """Return the base backups that can be restored, the oldest first."""
        return [backup for backup in self.backups() if backup.is_verified]


@dataclass(frozen=True, kw_only=True)
class ServiceArchive:
    """The archive of one service's server."""

    folder: Path

    @property
    def service(self) -> str:
        """The service's name."""
        return self.folder.name

    @property
    def log(self) -> Path:
        """The log of the programs that backups and restores run."""
        return self.folder / "backup.log"

    def incarnations(self) -> list[Incarnation]:
        """Return all incarnations, the oldest first."""
        records = sorted(self.folder.glob("[0-9][0-9][0-9][0-9]/incarnation.json"))
        return [Incarnation(folder=record.parent, record=IncarnationRecord.read(record)) for record in records]

    def current(self) -> Incarnation | None:
        """Return the newest incarnation, which the server continues; None before the first."""
        return next(reversed(self.incarnations()), None)

    def begin_incarnation(self, record: IncarnationRecord, *, after: Incarnation | None) -> Incarnation:
        """Begin the incarnation that follows `after`, or return the one with which another process did so first.

        The older ones stay until retention removes them.
        """
        with self._lock("incarnation.lock", wait=True):
            current = self.current()
            return current if current and current != after else self.complete(self.make_incarnation(record))

    def make_incarnation(self, record: IncarnationRecord) -> Incarnation:
        """Make another incarnation, which does not count before it is complete."""
        self.prepare()
        last = self.current()
        folder = self.folder / f"{int(last.name) + 1 if last else 1:04}{UNFINISHED}"
        shutil.rmtree(folder, ignore_errors=True)
        for made in (folder, folder / "wal", folder / "base"):
            make_private_folder(made)
        record.write(folder / "incarnation.json")
        return Incarnation(folder=folder, record=record)

    def complete(self, incarnation: Incarnation) -> Incarnation:
        """Let an incarnation be the current one from now on."""
        folder = incarnation.folder.with_suffix("")
        incarnation.folder.rename(folder)
        return Incarnation(folder=folder, record=incarnation.record)

    def prepare(self) -> None:
        """Make the folder, which only its owner can enter."""
        make_private_folder(self.folder.parent)
        make_private_folder(self.folder)
        open_path_for_user(self.folder.parent, binaries() / "postgres")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let nobody else back up, restore or purge meanwhile. Raises: Busy."""
        with self._lock("lock", wait=False):
            yield

    @contextmanager
    def _lock(self, name: str, *, wait: bool) -> Iterator[None]:
        self.prepare()
        with (self.folder / name).open("a") as lock:
            give_to_server_user(self.folder / name)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                raise Busy(
                    f"Another backup, restore or purge works on the archive of {self.service}. Try again when it has"
                    " ended."
                ) from None
            yield


def make_private_folder(folder: Path) -> None:
    """Make a folder that only the user can enter that PostgreSQL runs as. Several services may make one at once."""
    if not folder.is_dir():
        folder.mkdir(parents=True, mode=0o700, exist_ok=True)
        give_to_server_user(folder)


def give_to_server_user(path: Path) -> None:
    """Let the user that PostgreSQL runs as own a file or folder, if that is another user than this process's."""
    if (user := system_user()) is not None:
        shutil.chown(path, user, user)


def remove_folder(folder: Path) -> None:
    """Delete a folder, which does not count any more from the first moment on."""
    doomed = folder.with_name(folder.name + REMOVED)
    folder.rename(doomed)
    shutil.rmtree(doomed)


def folder_name(moment: datetime) -> str:
    """Return a time in UTC as a folder's name that sorts by time."""
    return moment.strftime("%Y%m%dT%H%M%S.%fZ")
