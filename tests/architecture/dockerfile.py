"""deploy/Dockerfile, parsed into instructions."""

import fnmatch
import re
import shlex
import shutil
from collections.abc import Iterable, Iterator
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


def stages() -> dict[str, list[Instruction]]:
    """Return the instructions of each stage that has a name. A stage begins with FROM."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE)
    found: dict[str, list[Instruction]] = {}
    current: list[Instruction] = []
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        name, _, arguments = line.strip().partition(" ")
        if name == "FROM":
            current = found.setdefault(arguments.rpartition(" AS ")[2], [])
        if name:
            current.append(Instruction(name, arguments))
    return found


def copied_for(service: str) -> list[Copied]:
    """Return what the image of a service gets from the checkout."""
    return _copied_in("builder", service)


def copied_for_tools() -> list[Copied]:
    """Return what the tools' image gets from the checkout: the orders service, and scripts of deploy/."""
    return [*_copied_in("builder", "orders"), *_copied_in("tools-builder", "orders")]


def copied_for_console() -> list[Copied]:
    """Return what the console's image gets from the checkout, beside what the tools' image has."""
    return [*copied_for_tools(), *_copied_in("console-builder", "orders")]


def copied_for_backup() -> list[Copied]:
    """Return what the image of the archives gets from the checkout, beside what the tools' image has."""
    return [*copied_for_tools(), *_copied_in("backup-builder", "orders")]


def copy_into(folder: Path, copies: Iterable[Copied]) -> None:
    """Copy into `folder` what /app in an image contains, except the packages."""
    for copied in copies:
        source, target = CHECKOUT / copied.source, folder / copied.target
        if copied.target.endswith("/") and not source.is_dir():
            target /= source.name
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)


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


def _copied_in(stage: str, service: str) -> list[Copied]:
    return [
        copied
        for instruction in stages()[stage]
        if instruction.name == "COPY" and "--from=" not in instruction.arguments
        for copied in _copied(instruction, service)
    ]


def _copied(instruction: Instruction, service: str) -> Iterator[Copied]:
    *sources, target = shlex.split(instruction.arguments.replace("${SERVICE}", service))
    for source in sources:
        yield Copied(source.rstrip("/"), target.removeprefix("./"))


def _with_parents(source: str) -> list[str]:
    path = Path(source)
    return [str(path), *(str(parent) for parent in path.parents if parent != Path())]
