"""A small file system of its own for one folder, which a test can fill up."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True)
class SmallDisk:
    """A file system in memory, mounted on a folder."""

    folder: Path

    def fill(self) -> None:
        """Leave no byte free."""
        with self._ballast.open("ab", buffering=0) as ballast:
            free = os.statvfs(self.folder)
            if free.f_bavail:
                os.posix_fallocate(ballast.fileno(), ballast.tell(), free.f_bavail * free.f_frsize)

    def free(self) -> None:
        """Release what `fill` took."""
        self._ballast.unlink(missing_ok=True)

    @property
    def _ballast(self) -> Path:
        return self.folder / "ballast"


def disks_can_be_mounted() -> bool:
    """Return whether this process may mount file systems."""
    return os.geteuid() == 0


@contextmanager
def small_disk(folder: Path, *, mebibytes: int) -> Iterator[SmallDisk]:
    """Mount a file system on the folder, which is made; unmount it at the end, and lose what it holds."""
    folder.mkdir(parents=True)
    # With this mode a server that runs as another user reaches its own folder.
    subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=0711", "tmpfs", folder], check=True)
    try:
        yield SmallDisk(folder)
    finally:
        # Lazily: a process that was killed may not have closed its files yet.
        subprocess.run(["/bin/umount", "--lazy", folder], check=True)
