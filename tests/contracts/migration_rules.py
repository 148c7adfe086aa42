"""The rules of migrations that run while the old version works: what Squawk finds in their SQL, and what it means.

Squawk knows what each statement locks and breaks (https://squawkhq.com/docs/rules).
"""

import ast
import json
import subprocess
import sysconfig
import tempfile
from collections.abc import Collection
from pathlib import Path

from tests.architecture.source import CHECKOUT
from tests.chaos.upgrade.comparison import Migration

POSTGRES_VERSION = "18"
CONTRACTING = frozenset(
    {
        "adding-not-nullable-field",
        "ban-drop-column",
        "ban-drop-constraint",
        "ban-drop-default",
        "ban-drop-not-null",
        "ban-drop-sequence",
        "ban-drop-table",
        "ban-truncate-cascade",
    }
)
"""Rules about what the old version may still use. They do not apply once a release has stopped using it."""
MATTERS_OF_TASTE = (
    "ban-char-field",
    "prefer-bigint-over-int",
    "prefer-bigint-over-smallint",
    "prefer-identity",
    "prefer-robust-stmts",
    "prefer-text-field",
    "prefer-timestamptz",
    "require-enum-value-ordering",
)
"""Rules that have nothing to do with an upgrade. Every other rule applies, those of later versions of Squawk too."""
MARK = "unused_since"
"""A migration that contracts names, in a variable of this name, the release that no longer uses what it removes."""


def objections(migration: Migration, *, releases: Collection[str]) -> list[str]:
    """Return why a migration must not run while the last release works; nothing if it may.

    `releases`: the versions that have been released.
    """
    mark = unused_since(Path(migration.file).read_text())
    if mark is not None and mark not in releases:
        return [f"{migration.file}: {MARK} names {mark}, which is not released"]
    return [
        f"{migration.file}: {rule}: {message}"
        for rule, message in _found_by_squawk(migration.sql)
        if mark is None or rule not in CONTRACTING
    ]


def unused_since(source: str) -> str | None:
    """Return the release that a migration's source names as the first that does not use what it removes."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [MARK]:
            return str(ast.literal_eval(node.value))
    return None


def releases() -> list[str]:
    """Return the versions that the changelog has, the newest first. A shallow clone has no tags, but this file."""
    lines = (CHECKOUT / "CHANGELOG.md").read_text().splitlines()
    names = [line.removeprefix("## [").partition("]")[0] for line in lines if line.startswith("## [")]
    return [name for name in names if name != "Unreleased"]


def _found_by_squawk(sql: str) -> list[tuple[str, str]]:
    """Return the rules that the SQL breaks, each with a message."""
    # `shared.migrations.runner` sets both time-outs, and Alembic begins and ends the transaction.
    script = f"SET lock_timeout = '5s';\nSET statement_timeout = '60s';\nBEGIN;\n{sql}\nCOMMIT;\n"
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        process = subprocess.run(
            [
                Path(sysconfig.get_path("scripts"), "squawk"),
                "--reporter=json",
                f"--pg-version={POSTGRES_VERSION}",
                f"--exclude={','.join(MATTERS_OF_TASTE)}",
                file.name,
            ],
            capture_output=True,
            text=True,
            check=False,
        )
    assert process.returncode in {0, 1}, process.stderr
    return [(each["rule_name"], each["message"]) for each in json.loads(process.stdout)]
