"""The WAL that recovery reads: the archived segments, and what the data folder to be replaced has beyond them."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from deploy.backup import programs
from deploy.backup.archive import Incarnation, ServiceArchive, give_to_server_user
from deploy.backup.wal import PARTIAL, Run, WalFolder

Segments = dict[int, Path]
"""Files by the segments' numbers, in order."""


async def readable_segments(
    archive: ServiceArchive, incarnation: Incarnation, archived: Run, *, start: int, data_folder: Path
) -> Segments:
    """Return the archived segments from `start` on, continued by those of the data folder if its server wrote them.

    The archive lacks what its receiver had not flushed. The last segments may be older ones that the server has given
    another name: recovery ends before them.
    """
    files, record = archived.files, incarnation.record
    if archived.missing is not None:
        return files
    if await programs.system_identifier(data_folder, log=archive.log) != record.system_identifier:
        return files
    own = WalFolder(folder=data_folder / "pg_wal", timeline=record.timeline, segment_bytes=record.segment_bytes)
    first = start // record.segment_bytes
    if files:
        first = archived.last if files[archived.last].suffix == PARTIAL else archived.last + 1
    more = own.run_from(first * record.segment_bytes).files
    if first in files and first in more:
        archived_end = await _last_record(archive, incarnation, first, files[first])
        if await _last_record(archive, incarnation, first, more[first]) < archived_end:
            # The data folder is damaged, or an older copy.
            return files
    return {**files, **more}


async def _last_record(archive: ServiceArchive, incarnation: Incarnation, number: int, file: Path) -> int:
    with linked(incarnation, {number: file}) as folder:
        return await programs.last_record(folder / incarnation.wal.name_of(number), log=archive.log) or 0


async def end_of(archive: ServiceArchive, incarnation: Incarnation, segments: Segments) -> datetime | None:
    """Return when the last transaction of the segments ended; None without one."""
    with linked(incarnation, segments) as folder:
        for number in reversed(segments):
            if ends := await programs.transaction_ends(folder / incarnation.wal.name_of(number), log=archive.log):
                return ends[-1]
    return None


async def ends_with_shutdown(archive: ServiceArchive, incarnation: Incarnation, segments: Segments) -> bool:
    """Return whether the server was shut down at the end of the segments, so that nothing came after it."""
    with linked(incarnation, segments) as folder:
        for number in reversed(segments):
            ended = await programs.ends_with_shutdown(folder / incarnation.wal.name_of(number), log=archive.log)
            if ended is not None:
                return ended
    return False


@contextmanager
def linked(incarnation: Incarnation, segments: Segments) -> Iterator[Path]:
    """Yield a folder of links to segments, by the names that PostgreSQL asks for, partial ones too."""
    with TemporaryDirectory(prefix="orderly-restore-") as name:
        folder = Path(name)
        give_to_server_user(folder)
        for number, file in segments.items():
            (folder / incarnation.wal.name_of(number)).symlink_to(file.absolute())
        yield folder
