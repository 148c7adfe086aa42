"""Comparisons that need no running system: the migrations of two versions, and their golden events."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.local.process import LocalError
from tests.chaos.upgrade import parse_events, render_migrations
from tests.chaos.upgrade.versions import Version

EXAMPLES = Path("shared", "events", "examples")


class NotAnUpgrade(LocalError):
    """The new version cannot migrate a database of the old one."""


@dataclass(frozen=True, kw_only=True)
class Migration:
    """A migration of one service, and the SQL that it executes."""

    revision: str
    file: str
    sql: str

    @property
    def digest(self) -> str:
        """The hash of the SQL without its layout: neither that nor the form of the code matters."""
        return hashlib.sha256(" ".join(self.sql.split()).encode()).hexdigest()


Migrations = Mapping[str, Sequence[Migration]]
"""The migrations of each service, oldest first."""


@dataclass(frozen=True)
class GoldenEvents:
    """The number of golden events that both versions have parsed, and a sentence for each failure."""

    parsed: int
    failures: Sequence[str]


def migrations_of(version: Version) -> Migrations:
    """Render the migrations of a version with its own code. Raises: VersionUnavailable."""
    rendered = json.loads(version.run(str(render_migrations.__file__), version.folder))
    return {service: [Migration(**each) for each in migrations] for service, migrations in rendered.items()}


def new_migrations(old: Migrations, new: Migrations, *, old_ref: str) -> Migrations:
    """Return the migrations that only the new version has.

    Raises: NotAnUpgrade unless those of the old version are the first ones of the new version, with the same SQL.
    """
    differences = [difference for service in old for difference in _differences(service, old, new)]
    if differences:
        raise NotAnUpgrade(
            f"Databases of {old_ref} cannot be migrated to this version, because its migrations were changed:\n"
            + "\n".join(f"    {each}" for each in differences)
            + "\nName a version with the present migrations: --from REF, or the file deploy/upgrade/previous-version."
        )
    return {service: migrations[len(old.get(service, ())) :] for service, migrations in new.items()}


def golden_events(old: Version, new: Version) -> GoldenEvents:
    """Parse the golden events of each version with the code of the other one. Raises: VersionUnavailable."""
    parsed, failures = 0, list[str]()
    # The new version must know every type of the old one. An old consumer ignores types that it does not know.
    for parser, source, options in ((new, old, ["all"]), (old, new, [])):
        outcome = json.loads(parser.run(str(parse_events.__file__), source.folder / EXAMPLES, *options))
        parsed += outcome["parsed"]
        failures += [f"{each} (of the {source.name} version, in the {parser.name} one)" for each in outcome["failures"]]
    return GoldenEvents(parsed, failures)


def _differences(service: str, old: Migrations, new: Migrations) -> list[str]:
    found = []
    after = new.get(service, ())
    for position, migration in enumerate(old[service]):
        if position >= len(after) or after[position].revision != migration.revision:
            found.append(f"{service} {migration.revision} is missing")
        elif after[position].digest != migration.digest:
            found.append(f"{service} {migration.revision} executes other statements")
    return found
