"""A small file system of its own for one folder, which a test can fill up."""

import errno
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PAGE = 4096
MAX_PIECE = 64 * 1024 * 1024


@dataclass(frozen=True)
class SmallDisk:
    """A file system in memory, mounted on a folder."""

    folder: Path

    def fill(self) -> None:
        """Leave no page free, whatever others write meanwhile."""
        with self._ballast.open("ab", buffering=0) as ballast:
            # One piece of all that is free would not fit as soon as somebody else takes a page.
            piece = MAX_PIECE
            while piece >= PAGE:
                try:
                    os.posix_fallocate(ballast.fileno(), os.fstat(ballast.fileno()).st_size, piece)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    piece //= 2

    def free(self) -> None:
        """Release what `fill` took."""
        self._ballast.unlink(missing_ok=True)

    @property
    def _ballast(self) -> Path:
        return self.folder / "ballast"


@cache
def disks_can_be_mounted() -> bool:
    """Return whether this process may mount file systems. In a container, root may not."""
    if os.geteuid() != 0:
        return False
    with tempfile.TemporaryDirectory() as folder:
        try:
            with small_disk(Path(folder, "disk"), mebibytes=1):
                return True
        except subprocess.CalledProcessError:
            return False


@contextmanager
def small_disk(folder: Path, *, mebibytes: int) -> Iterator[SmallDisk]:
    """Mount a file system on the folder, which is made; unmount it at the end, and lose what it holds."""
    folder.mkdir(parents=True, exist_ok=True)
    # With this mode a server that runs as another user reaches its own folder.
    options = f"size={mebibytes}m,mode=0711"
    command: list[str | Path] = ["/bin/mount", "-t", "tmpfs", "-o", options, "tmpfs", folder]
    subprocess.run(command, check=True, capture_output=True)
    try:
        yield SmallDisk(folder)
    finally:
        # Lazily: a process that was killed may not have closed its files yet.
        subprocess.run(["/bin/umount", "--lazy", folder], check=True)
