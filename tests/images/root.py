"""The root file system of an image: a shell, its users, and every shared library its programs need."""

import re
import shutil
import stat
import subprocess
from pathlib import Path

from deploy.local.process import LocalError

# glibc's loader on x86-64, for which the installed servers are built.
LOADER = Path("/lib64/ld-linux-x86-64.so.2")
# The entry points and PostgreSQL run these; `ls` and `cat` help to inspect a container.
PROGRAMS = ("bash", "cat", "ls", "mkdir")
LIBRARY = re.compile(r"^\s+(?:\S+ => )?(/\S+) \(0x", re.MULTILINE)


def start_root(root: Path, *, user: str, user_id: int) -> None:
    """Make what every image needs besides its server: a shell, a few programs, users, /tmp."""
    if not LOADER.exists():
        raise LocalError("The stand-in images can only be built on Linux with glibc on x86-64.")
    (root / "bin").mkdir(parents=True)
    for program in PROGRAMS:
        _copy_program(program, root / "bin")
    (root / "bin" / "sh").symlink_to("bash")
    etc = root / "etc"
    etc.mkdir()
    (etc / "passwd").write_text(f"root:x:0:0::/:/bin/sh\n{user}:x:{user_id}:{user_id}::/tmp:/bin/sh\n")
    (etc / "group").write_text(f"root:x:0:\n{user}:x:{user_id}:\n")
    (etc / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\n")
    make_writable_folder(root / "tmp")


def finish_root(root: Path) -> None:
    """Add the shared libraries, and let every user read all files, which a strict umask may have prevented."""
    for library in _libraries_outside(root):
        target = root / library.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, target)
    for path in [root, *root.rglob("*")]:
        mode = path.stat().st_mode
        executable = path.is_dir() or mode & stat.S_IXUSR
        path.chmod(stat.S_IMODE(mode) | (0o555 if executable else 0o444))


def make_writable_folder(folder: Path) -> None:
    """Make a folder in which every user may create files, and delete only their own."""
    folder.mkdir(parents=True)
    folder.chmod(0o1777)


def programs_and_libraries(root: Path) -> list[Path]:
    """Return every ELF file of the image."""
    files = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    return sorted(path for path in files if _is_elf(path))


def _copy_program(name: str, folder: Path) -> None:
    found = shutil.which(name)
    if found is None:
        raise LocalError(f"The image needs {name}, which is not on the PATH.")
    shutil.copy(found, folder / name)


def _libraries_outside(root: Path) -> set[Path]:
    """Return the loader and libraries that the image's programs would load from outside of the image."""
    listed = subprocess.run(["ldd", *programs_and_libraries(root)], capture_output=True, text=True, check=False)  # noqa: S607
    found = {Path(path) for path in LIBRARY.findall(listed.stdout)}
    return {path for path in found if not path.is_relative_to(root)}


def _is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"
