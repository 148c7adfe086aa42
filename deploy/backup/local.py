"""The archives of the system that `make run` starts."""

import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from deploy.backup.archive import ServiceArchive
from deploy.backup.errors import DataLost
from deploy.backup.receiver import receiver_program
from deploy.backup.server import drop_unused_slot, ensure_archive_role
from deploy.backup.settings import BackupSettings
from deploy.local.credentials import SERVICES
from deploy.local.postgres import Postgres
from deploy.local.process import Program
from deploy.local.settings import LocalSettings


def archive_password_file(settings: LocalSettings) -> Path:
    """Return the file with the password of the archiving role, which is made once."""
    file = settings.folder / "secrets" / "archive-password"
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (
        suppress(FileExistsError),
        os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as made,
    ):
        made.write(secrets.token_urlsafe(24))
    return file


def backup_environment(settings: LocalSettings) -> dict[str, str]:
    """Return the BACKUP_* variables of the local system."""
    return {
        "BACKUP_ARCHIVE": str(settings.archive),
        "BACKUP_SERVERS": json.dumps({name: f"127.0.0.1:{settings.postgres_port_of(name)}" for name in SERVICES}),
        "BACKUP_PASSWORD_FILE": str(archive_password_file(settings)),
        "BACKUP_DATA_FOLDERS": json.dumps({name: str(settings.postgres_data_of(name)) for name in SERVICES}),
        "BACKUP_WAL_ARCHIVE": settings.wal_archive,
    }


def backup_settings(settings: LocalSettings) -> BackupSettings:
    """Return the settings of the local system's archives."""
    environment = backup_environment(settings)
    return BackupSettings(
        archive=settings.archive,
        servers=json.loads(environment["BACKUP_SERVERS"]),
        password_file=Path(environment["BACKUP_PASSWORD_FILE"]),
        data_folders=json.loads(environment["BACKUP_DATA_FOLDERS"]),
        wal_archive=settings.wal_archive,
    )


def check_no_data_are_lost(settings: LocalSettings) -> None:
    """Raise DataLost if a server has an archive that can be restored, and no data.

    An empty server would take the place of the lost one, as if there had never been anything.
    """
    lost = [service for service in SERVICES if _is_lost(service, settings)]
    if lost:
        raise DataLost(
            f"The data of {', '.join(lost)} are gone ({settings.postgres_data_of(lost[0])}), but base backups of them"
            f" exist. Restore them: make restore SERVICES={','.join(lost)}. To begin with empty databases instead, move"
            f" their archives away: {', '.join(str(settings.archive / service) for service in lost)}"
        )


def _is_lost(service: str, settings: LocalSettings) -> bool:
    if (settings.postgres_data_of(service) / "PG_VERSION").exists():
        return False
    incarnations = ServiceArchive(folder=settings.archive / service).incarnations()
    return any(incarnation.verified_backups() for incarnation in incarnations)


async def archive_program(
    service: str, postgres: Postgres, *, settings: LocalSettings, environment: Mapping[str, str] | None = None
) -> Program | None:
    """Make the running server's archiving role, and return the program that receives its WAL; None if that is off.

    In synchronous mode, commits by others wait until that program runs.
    """
    await ensure_archive_role(postgres.admin_url, password=archive_password_file(settings).read_text())
    if settings.wal_archive == "off":
        # It would keep WAL for a receiver that does not come.
        await drop_unused_slot(postgres.admin_url)
        return None
    return receiver_program(
        service,
        admin_url=postgres.admin_url,
        environment={**backup_environment(settings), **(environment or {})},
    )
