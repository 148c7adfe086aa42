"""The stand-in images contain everything that their programs need."""

import os
import re
import subprocess
from pathlib import Path
from typing import cast

import pytest

from deploy.local.kafka_jars import jars_folder
from tests.harness.servers import Kind
from tests.images.contexts import CONTEXTS
from tests.images.root import LOADER, programs_and_libraries

pytestmark = pytest.mark.skipif(not LOADER.exists(), reason="needs Linux with glibc on x86-64")

# The programs that the entry points run, and the shell that runs the entry points.
PROGRAMS: dict[Kind, set[str]] = {
    "postgres": {"bash", "sh", "mkdir", "initdb", "pg_ctl", "postgres"},
    "valkey": {"bash", "valkey-server"},
    "kafka": {"bash", "java"},
}


@pytest.fixture(scope="module", params=CONTEXTS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return cast("Kind", request.param)


@pytest.fixture(scope="module")
def context(kind: Kind, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if kind == "kafka" and not jars_folder().exists():
        pytest.skip("Apache Kafka's jars are not in the cache")
    folder = tmp_path_factory.mktemp("context")
    CONTEXTS[kind](folder)
    return folder


def test_each_library_that_a_program_needs_is_in_the_image(context: Path) -> None:
    root = context / "root"
    found = {path: _libraries(path, root) for path in programs_and_libraries(root)}
    outside = {str(path): names for path, libraries in found.items() if (names := _outside(libraries, root))}
    assert len(found) > 5
    assert outside == {}


def test_the_programs_that_the_entry_point_runs_are_on_the_path(context: Path, kind: Kind) -> None:
    folders = _instructions(context)["ENV"].partition("PATH=")[2].split()[0].split(":")
    files = {path.name: path for folder in folders for path in (context / "root" / folder.lstrip("/")).iterdir()}
    assert {program for program in PROGRAMS[kind] if not os.access(files.get(program, ""), os.X_OK)} == set()


def test_the_image_is_from_scratch_and_has_its_entry_point(context: Path) -> None:
    assert (context / "Dockerfile").read_text().startswith("FROM scratch\n")
    assert _instructions(context)["ENTRYPOINT"] == '["/entrypoint.sh"]'
    entry_point = context / "entrypoint.sh"
    assert os.access(entry_point, os.X_OK)
    assert entry_point.read_text().startswith("#!/bin/bash\n")
    assert (context / "root/bin/bash").is_file()


def test_the_image_runs_as_one_of_its_users_who_can_read_everything(context: Path) -> None:
    root = context / "root"
    users = [line.split(":")[0] for line in (root / "etc/passwd").read_text().splitlines()]
    assert _instructions(context)["USER"] in set(users) - {"root"}
    assert [str(path) for path in root.rglob("*") if path.stat().st_mode & 0o444 != 0o444] == []


def _libraries(program: Path, root: Path) -> dict[str, str]:
    """Return where the image's own loader finds each library of a program; it looks in the image first."""
    libc = next(path for path in root.rglob("libc.so.6"))
    # Java loads libjvm.so before any of the libraries that need it.
    folders = [libc.parent, root / "usr" / libc.parent.relative_to(root), root / "opt/java/lib/server"]
    loader = str(root / LOADER.relative_to("/"))
    options = ["--inhibit-cache", "--library-path", ":".join(map(str, folders)), "--list"]
    listed = subprocess.run([loader, *options, program], capture_output=True, text=True, check=False)
    if "statically linked" in listed.stdout:
        return {}
    assert listed.stdout, listed.stderr
    return dict(re.findall(r"^\s+(\S+) => (.+?)(?: \(0x\w+\))?$", listed.stdout, re.MULTILINE))


def _outside(libraries: dict[str, str], root: Path) -> dict[str, str]:
    """Return the libraries that are not in the image. Each program names the path of the loader, so skip that."""
    known = {name: path for name, path in libraries.items() if name != str(LOADER) and name != LOADER.name}
    return {name: path for name, path in known.items() if not Path(path).is_relative_to(root)}


def _instructions(context: Path) -> dict[str, str]:
    lines = (context / "Dockerfile").read_text().splitlines()
    return {instruction: rest for instruction, _, rest in (line.partition(" ") for line in lines)}
