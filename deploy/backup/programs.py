"""PostgreSQL's own programs, run as the user that the server runs as."""

import re
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from deploy.backup.archive import BaseBackup, make_private_folder
from deploy.backup.errors import BackupError, DiskFull
from deploy.backup.server import Access
from deploy.backup.wal import format_lsn, parse_lsn
from deploy.local.postgres import binaries, system_user
from deploy.local.process import LocalError, run_to_end

TIMEOUT_SECONDS = 24 * 3600.0
"""Upper bound of a base backup, a copy or a verification: a hanging one ends some time, and is tried again."""
_TRANSACTION_END = re.compile(r"desc: (?:COMMIT|ABORT)(?:_PREPARED)? .*?(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?) UTC")
_POSITION = re.compile(r"\blsn: ([0-9A-F]+/[0-9A-F]+),")
_SYSTEM_IDENTIFIER = re.compile(r"^Database system identifier: +(\d+)$", re.MULTILINE)
_NO_SPACE = "No space left on device"


async def run(
    *command: str | Path, log: Path, environment: Mapping[str, str] | None = None, output_to: Path | None = None
) -> None:
    """Run a command to its end. Raises: DiskFull, or BackupError with the last lines of its output."""
    try:
        await run_to_end(
            command,
            log=log,
            output_to=output_to,
            environment={"TZ": "UTC", "LC_ALL": "C", **(environment or {})},
            user=system_user(),
            timeout_seconds=TIMEOUT_SECONDS,
        )
    except LocalError as error:
        raise (DiskFull if _NO_SPACE in str(error) else BackupError)(str(error)) from error


async def base_backup(access: Access, target: Path, *, log: Path, durable: bool = True) -> None:
    """Copy the running server, with the WAL that makes the copy consistent."""
    await run(
        binaries() / "pg_basebackup",
        f"--dbname={access.conninfo(application_name='orderly_base_backup')}",
        f"--pgdata={target}",
        "--format=plain",
        "--wal-method=stream",
        "--checkpoint=fast",
        "--manifest-checksums=SHA256",
        "--no-password",
        *([] if durable else ["--no-sync"]),
        log=log,
        environment=access.environment(),
    )


async def verify_backup(data: Path, *, log: Path) -> None:
    """Compare each file with the manifest, and parse the WAL. Raises: BackupError."""
    await run(binaries() / "pg_verifybackup", "--quiet", "--exit-on-error", data, log=log)


async def copy_data(backup: BaseBackup, target: Path, *, log: Path) -> None:
    """Copy a base backup's data into an empty folder, which belongs to the server's user. Raises: DiskFull."""
    make_private_folder(target)
    await run("cp", "-a", f"{backup.data}/.", target, log=log)


async def remove_old_wal(wal: Path, oldest_kept: str, *, log: Path) -> None:
    """Remove the segments that come before one, the timeline aside."""
    await run(binaries() / "pg_archivecleanup", wal, oldest_kept, log=log)


async def transaction_ends(segment: Path, *, log: Path) -> list[datetime]:
    """Return the times at which transactions of a segment were committed or rolled back, in order."""
    output = await _dump(segment, "--rmgr=Transaction", log=log)
    return [datetime.fromisoformat(f"{found}+00:00") for found in _TRANSACTION_END.findall(output)]


async def last_record(segment: Path, *, log: Path) -> int | None:
    """Return the position of a segment's last complete record; None without one."""
    positions = _POSITION.findall(await _dump(segment, log=log))
    return parse_lsn(positions[-1]) if positions else None


async def system_identifier(data_folder: Path, *, log: Path) -> int | None:
    """Return the identifier of the server whose data a folder holds; None if there is none that can be read."""
    found = _SYSTEM_IDENTIFIER.search(await _output_of(binaries() / "pg_controldata", "-D", data_folder, log=log))
    return int(found[1]) if found else None


async def ends_with_shutdown(segment: Path, *, log: Path) -> bool | None:
    """Return whether a segment's last record says that the server was shut down; None without a record."""
    lines = (await _dump(segment, log=log)).splitlines()
    return "CHECKPOINT_SHUTDOWN" in lines[-1] if lines else None


async def first_damage(wal: Path, *, start: str, end: int, timeline: int, log: Path) -> str | None:
    """Return where the WAL between two positions cannot be read, and why; None if all of it can be."""
    try:
        await run(
            binaries() / "pg_waldump",
            "--quiet",
            f"--path={wal}",
            f"--timeline={timeline}",
            f"--start={start}",
            f"--end={format_lsn(end)}",
            log=log,
        )
    except BackupError as error:
        return str(error).splitlines()[-1].strip()
    return None


async def _dump(segment: Path, *options: str, log: Path) -> str:
    """Return the records of a segment as text, up to the first that is incomplete."""
    # It fails where the WAL ends within the segment. A file that it cannot read has no record at all.
    return await _output_of(binaries() / "pg_waldump", *options, segment, log=log)


async def _output_of(*command: str | Path, log: Path) -> str:
    """Return what a command has printed, until it ended or failed."""
    with tempfile.NamedTemporaryFile("r") as output:
        with suppress(BackupError):
            await run(*command, log=log, output_to=Path(output.name))
        return output.read()
