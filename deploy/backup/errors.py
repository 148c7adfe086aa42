"""Errors that prevent a backup or a restore, in words that tell an operator what to do.

BackupError
├── Busy             another backup, restore or purge works on the same archive
├── NotArchiving     the server and the archive do not belong together, or archiving is off
├── NoBackup         no verified base backup is old enough, or there is none at all
├── TargetAfterEnd   the archive ends before the time that was asked for
├── WalGap           a WAL segment is missing
├── WalDamaged       recovery stopped before the end of the archive
├── DataLost         a server has no data although its archive has base backups
├── ServerRunning    the server to be replaced still runs
└── DiskFull         the restored data does not fit
"""

from deploy.local.process import LocalError


class BackupError(LocalError):
    """A backup or a restore failed."""


class Busy(BackupError):
    """Another backup, restore or purge works on the same archive."""


class NotArchiving(BackupError):
    """The server and the archive do not belong together, or archiving is off."""


class NoBackup(BackupError):
    """No verified base backup is old enough, or there is none at all."""


class TargetAfterEnd(BackupError):
    """The archive ends before the time that was asked for."""


class WalGap(BackupError):
    """A WAL segment is missing."""


class WalDamaged(BackupError):
    """Recovery stopped before the end of the archive."""


class DataLost(BackupError):
    """A server has no data although its archive has base backups."""


class ServerRunning(BackupError):
    """The server to be replaced still runs."""


class DiskFull(BackupError):
    """The restored data does not fit."""
