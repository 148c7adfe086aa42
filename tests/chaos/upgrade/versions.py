"""The two versions of a campaign: which commits they are, their files, and a virtual environment for each."""

import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deploy.local.process import LocalError, run_to_end
from deploy.local.state import CHECKOUT

VersionName = Literal["old", "new"]
PREVIOUS_VERSION = CHECKOUT / "deploy" / "upgrade" / "previous-version"
"""Names the previous version while no release exists: a git ref on its last line."""
INSTALL_TIMEOUT_SECONDS = 600
_HISTORY_NEEDED = (
    "A shallow clone lacks it: run `git fetch --unshallow --tags`; in CI, check out with `fetch-depth: 0`."
)


class VersionUnavailable(LocalError):
    """A version of the campaign cannot be found, or cannot be installed."""


@dataclass(frozen=True, kw_only=True)
class Version:
    """A version that can run: its commit, the folder of its files, and a Python that has its packages."""

    name: VersionName
    ref: str
    commit: str
    is_modified: bool
    """Whether its files differ from the commit."""
    folder: Path
    python: Path

    def environment(self) -> dict[str, str]:
        """Return the variables with which its Python imports its own code, whatever the working directory is."""
        return {"PYTHONPATH": str(self.folder), "PYTHONSAFEPATH": "1"}

    def run(self, *arguments: str | Path) -> str:
        """Run its Python in its environment, and return the standard output. Raises: VersionUnavailable."""
        process = subprocess.run(
            [self.python, *arguments],
            env=self.environment(),
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if process.returncode:
            raise VersionUnavailable(f"{self.python} {arguments[0]} failed in {self.ref}:\n{process.stderr[-2000:]}")
        return process.stdout


def previous_ref(checkout: Path = CHECKOUT, *, previous_version: Path = PREVIOUS_VERSION) -> str:
    """Return the newest tag `v*` before HEAD; without one, the ref in the file `previous_version`."""
    tags = _git(checkout, "tag", "--list", "v*", "--merged", "HEAD", "--no-contains", "HEAD", "--sort=-version:refname")
    return tags.split()[0] if tags.split() else previous_version.read_text().split()[-1]


def commit_of(ref: str, checkout: Path = CHECKOUT) -> str:
    """Return the full hash of a ref's commit. Raises: VersionUnavailable, with what to do."""
    try:
        return _git(checkout, "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}").strip()
    except VersionUnavailable:
        raise VersionUnavailable(f"There is no commit {ref} in this clone. {_HISTORY_NEEDED}") from None


def is_modified(checkout: Path = CHECKOUT) -> bool:
    """Return whether a file that git keeps, or would keep, differs from HEAD."""
    return bool(_git(checkout, "status", "--porcelain").strip())


async def old_version(ref: str, folder: Path) -> Version:
    """Extract a commit into `folder`, and build its .venv there from its own uv.lock.

    Raises: VersionUnavailable.
    """
    commit = commit_of(ref)
    extract(commit, folder)
    return Version(
        name="old", ref=ref, commit=commit, is_modified=False, folder=folder, python=await install(folder, ref=ref)
    )


def this_version() -> Version:
    """Return this checkout as the new version, with its uncommitted changes."""
    return Version(
        name="new",
        ref="HEAD",
        commit=commit_of("HEAD"),
        is_modified=is_modified(),
        folder=CHECKOUT,
        python=Path(sys.executable),
    )


def extract(commit: str, folder: Path, checkout: Path = CHECKOUT) -> None:
    """Write the files of a commit into a new folder. It is no work tree, so nothing has to be pruned later."""
    folder.mkdir(parents=True)
    archive = folder.with_suffix(".tar")
    _git(checkout, "archive", f"--output={archive}", commit)
    with tarfile.open(archive) as files:
        files.extractall(folder, filter="data")
    archive.unlink()


async def install(folder: Path, *, ref: str) -> Path:
    """Build the .venv of a version as it builds it itself, and return its Python. Raises: VersionUnavailable."""
    log = folder / "install.log"
    try:
        await run_to_end(
            ["make", "-C", folder, "venv", f"PYTHON={sys.executable}"], log=log, timeout_seconds=INSTALL_TIMEOUT_SECONDS
        )
    except LocalError as error:
        raise VersionUnavailable(
            f"The packages of {ref} could not be installed. Without a network they must be in the cache of uv: "
            f"check {ref} out and run `make venv` there once, with a network.\n{error}"
        ) from error
    return folder / ".venv" / "bin" / "python"


def check_imports(version: Version) -> None:
    """Check that the version's Python imports the version's own code. Raises: VersionUnavailable."""
    found = version.run("-c", "import services, shared; print(services.__file__); print(shared.__file__)").split()
    if foreign := [path for path in found if not Path(path).is_relative_to(version.folder)]:
        raise VersionUnavailable(f"The {version.name} version would run the code of {', '.join(foreign)}")


def _git(checkout: Path, *arguments: str) -> str:
    try:
        process = subprocess.run(
            ["git", "-C", checkout, *arguments],  # noqa: S607
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        raise VersionUnavailable("git is not installed: a campaign takes the old version from the history") from None
    if process.returncode:
        raise VersionUnavailable(f"git {' '.join(arguments[:2])}: {process.stderr.strip() or 'failed'}")
    return process.stdout
