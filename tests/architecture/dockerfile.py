"""deploy/Dockerfile, parsed into instructions."""

import fnmatch
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.architecture.source import CHECKOUT

DOCKERFILE = CHECKOUT / "deploy" / "Dockerfile"


@dataclass(frozen=True)
class Instruction:
    """An instruction such as RUN, and its arguments with continued lines joined."""

    name: str
    arguments: str


@dataclass(frozen=True)
class Copied:
    """A path in the checkout, and the path in /app to which it is copied."""

    source: str
    target: str


def stages() -> list[list[Instruction]]:
    """Return the instructions of each stage. A stage begins with FROM."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE)
    found: list[list[Instruction]] = []
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        name, _, arguments = line.strip().partition(" ")
        if name == "FROM":
            found.append([])
        if name and found:
            found[-1].append(Instruction(name, arguments))
    return found


def copied_for(service: str) -> list[Copied]:
    """Return what the image of a service gets from the checkout."""
    return [
        copied for instruction in stages()[0] if instruction.name == "COPY" for copied in _copied(instruction, service)
    ]


def copy_into(folder: Path, service: str) -> None:
    """Copy into `folder` what /app in the image contains, except the packages."""
    for copied in copied_for(service):
        source, target = CHECKOUT / copied.source, folder / copied.target
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target / source.name if copied.target.endswith("/") else target)


def is_sent_to_builder(source: str) -> bool:
    """Return whether .dockerignore includes a path. The last line that matches it or a parent decides."""
    is_sent = True
    for line in (CHECKOUT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        if not pattern or pattern.startswith("#"):
            continue
        if any(fnmatch.fnmatch(path, pattern.removeprefix("**/")) for path in _with_parents(source)):
            is_sent = line.startswith("!")
    return is_sent


def _copied(instruction: Instruction, service: str) -> Iterator[Copied]:
    *sources, target = shlex.split(instruction.arguments.replace("${SERVICE}", service))
    for source in sources:
        yield Copied(source.rstrip("/"), target.removeprefix("./"))


def _with_parents(source: str) -> list[str]:
    path = Path(source)
    return [str(path), *(str(parent) for parent in path.parents if parent != Path())]
