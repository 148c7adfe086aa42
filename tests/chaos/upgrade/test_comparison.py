"""Two versions are compared by what their own code says: the SQL of migrations, and the golden events."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from deploy.local.state import CHECKOUT
from tests.chaos.upgrade.comparison import (
    EXAMPLES,
    Migration,
    NotAnUpgrade,
    golden_events,
    migrations_of,
    new_migrations,
)
from tests.chaos.upgrade.plants import DEADLINE_FIELD
from tests.chaos.upgrade.versions import Version, VersionName, VersionUnavailable, check_imports


def migration(revision: str, sql: str = "SELECT 1;") -> Migration:
    return Migration(revision=revision, file=f"{revision}.py", sql=sql)


@pytest.fixture
def old(tmp_path: Path) -> Version:
    """A copy of the code, to be changed."""
    for package in ("shared", "services"):
        shutil.copytree(CHECKOUT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    return version(tmp_path, "old")


@pytest.fixture
def new() -> Version:
    return version(CHECKOUT, "new")


def version(folder: Path, name: VersionName) -> Version:
    return Version(name=name, ref=name, commit="0" * 40, is_modified=False, folder=folder, python=Path(sys.executable))


def edit(version: Version, path: str, before: str, after: str) -> None:
    file = version.folder / path
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after))


def test_the_new_migrations_follow_those_of_the_old_version() -> None:
    old = {"users": [migration("0001")]}
    new = {"users": [migration("0001", "SELECT\n 1;"), migration("0002")], "orders": [migration("0001")]}
    assert new_migrations(old, new, old_ref="v1") == {"users": [migration("0002")], "orders": [migration("0001")]}


@pytest.mark.parametrize(
    ("new", "difference"),
    [
        ([migration("0001", "SELECT 2;"), migration("0002")], "users 0001 executes other statements"),
        ([migration("0001")], "users 0002 is missing"),
        ([migration("0002"), migration("0001")], "users 0001 is missing"),
    ],
)
def test_a_rewritten_migration_is_no_upgrade(new: list[Migration], difference: str) -> None:
    old = {"users": [migration("0001"), migration("0002")]}
    with pytest.raises(NotAnUpgrade, match=f"Databases of v1 cannot be migrated.*\n    {difference}"):
        new_migrations(old, {"users": new}, old_ref="v1")


def test_each_version_renders_its_own_migrations(old: Version, new: Version) -> None:
    edit(old, "shared/messaging/storage/ddl.py", "tracestate text,", "tracestate varchar,")
    rendered = {each.name: migrations_of(each) for each in (old, new)}

    changed = [
        (service, after.revision)
        for service in rendered["new"]
        for before, after in zip(rendered["old"][service], rendered["new"][service], strict=True)
        if before.digest != after.digest
    ]
    assert changed == [(service, "0001") for service in ("notifications", "orders", "users")]


def test_golden_events_are_parsed_by_the_other_version(old: Version, new: Version) -> None:
    total = len(list((CHECKOUT / EXAMPLES).glob("*/*.json")))
    assert golden_events(old, new).parsed == 2 * total

    edit(old, "shared/events/orders.py", DEADLINE_FIELD, DEADLINE_FIELD.replace("deadline", "expires_at"))
    path = old.folder / EXAMPLES / "order.created" / "1.json"
    example = json.loads(path.read_text())
    example["expires_at"] = example.pop("deadline")
    path.write_text(json.dumps(example))
    edit(old, "shared/events/orders.py", '"order.delivered"', '"order.received"')
    (old.folder / EXAMPLES / "order.delivered").rename(old.folder / EXAMPLES / "order.received")

    failures = golden_events(old, new).failures
    assert [failure.partition(": ")[0] for failure in failures if "order.created" in failure] == [
        "order.created/1.json"
    ] * 2
    # The new version must know every type of the old one, but not the other way round.
    assert [failure for failure in failures if "unknown" in failure] == [
        "order.received is unknown (of the old version, in the new one)"
    ]


def test_a_version_that_would_run_other_code_is_refused(old: Version) -> None:
    check_imports(old)
    shutil.rmtree(old.folder / "services")
    with pytest.raises(VersionUnavailable):
        check_imports(old)
