"""The evidence of upgrade campaigns as JSON, and the check without which a release is not published.

`python -m tests.chaos.upgrade.evidence FILE --new REF` exits with 1 and says why, unless the file is the evidence of
this upgrade.
"""

import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import BaseModel, ConfigDict, ValidationError

from tests.chaos.upgrade.versions import VersionUnavailable, commit_of, previous_ref

MIN_SEEDS = 10
VERSIONS_WORK = "Both versions served requests, published events and applied them"
GOLDEN_EVENTS = "Each version parses the golden events of the other one"
ANSWERS = "No request got 500"
CACHED_VALUES = "Each version reads what the other one has cached"
JOURNEYS = "Every step of a journey had its effect, whichever version served it"
LOGS = "No process logged an unexpected error"
COMPLETED = "The campaign came to its end"
REQUIRED_FINDINGS = frozenset({VERSIONS_WORK, GOLDEN_EVENTS, ANSWERS, CACHED_VALUES, JOURNEYS, LOGS, COMPLETED})
"""Findings of each campaign beside the invariants of the demo."""


class Record(BaseModel):
    """A part of the evidence. An unknown member makes it invalid: another format needs another number."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class VersionRecord(Record):
    """A version, as the campaign ran it."""

    ref: str
    commit: str
    is_modified: bool


class WorkRecord(Record):
    """The work of one version."""

    requests: int
    published: int
    applied: int


class StepRecord(Record):
    """A step of a campaign. Work in a process's last second before a kill is not counted."""

    name: str
    started_at: datetime
    seconds: float
    old: WorkRecord
    new: WorkRecord


class FindingRecord(Record):
    """An invariant, and the sentences of its violations."""

    name: str
    violations: tuple[str, ...]


class CampaignRecord(Record):
    """The campaign of one seed."""

    seed: int
    started_at: datetime
    ended_at: datetime
    steps: tuple[StepRecord, ...]
    orders: int
    journeys: int
    faults: Mapping[str, int]
    effects: Mapping[str, int]
    retries: Mapping[str, int]
    findings: tuple[FindingRecord, ...]

    @property
    def violations(self) -> list[str]:
        """The violations of every invariant."""
        return [f"{each.name}: {violation}" for each in self.findings for violation in each.violations]


class Evidence(Record):
    """The campaigns of one upgrade."""

    format: Literal[1] = 1
    old: VersionRecord
    new: VersionRecord
    plant: str | None
    """The incompatible change that was planted into the new version, if any."""
    migrations: Mapping[str, tuple[str, ...]]
    """The revisions that only the new version has, by service."""
    golden_events: int
    """Examples that one version has parsed of the other one."""
    started_at: datetime
    ended_at: datetime
    campaigns: tuple[CampaignRecord, ...]

    @property
    def has_passed(self) -> bool:
        """Return whether every campaign is complete and has violated nothing."""
        return bool(self.campaigns) and not any(objections_to(each) for each in self.campaigns)


def objections_to(campaign: CampaignRecord) -> list[str]:
    """Return what a campaign violated, and what it did not check."""
    missing = REQUIRED_FINDINGS - {each.name for each in campaign.findings}
    return [
        *(f"seed {campaign.seed} did not check: {name}" for name in sorted(missing)),
        *(f"seed {campaign.seed}: {violation}" for violation in campaign.violations),
    ]


def objections(evidence: Evidence, *, old_commit: str, new_commit: str, min_seeds: int) -> list[str]:
    """Return why a file is no evidence of this upgrade; nothing if it is."""
    found = []
    for name, version, commit in (("old", evidence.old, old_commit), ("new", evidence.new, new_commit)):
        if version.commit != commit:
            found.append(f"The {name} version is {version.commit}, not {commit}")
        if version.is_modified:
            found.append(f"The {name} version had uncommitted changes")
    if evidence.plant is not None:
        found.append(f"The new version had a planted change: {evidence.plant}")
    if old_commit == new_commit:
        found.append("Both versions are the same commit")
    seeds = {campaign.seed for campaign in evidence.campaigns}
    if len(seeds) < min_seeds:
        found.append(f"{len(seeds)} seeds were run, at least {min_seeds} are needed")
    return found + [objection for campaign in evidence.campaigns for objection in objections_to(campaign)]


def read(path: Path) -> Evidence:
    """Read a file. Raises: OSError, ValidationError."""
    return Evidence.model_validate_json(path.read_bytes())


def write(path: Path, evidence: Evidence) -> None:
    """Write the file as a whole, or not at all."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.write_text(evidence.model_dump_json(indent=2) + "\n")
    unfinished.replace(path)


def check(
    file: Annotated[Path, typer.Argument(help="The file that `make chaos-upgrade` wrote.")],
    new: Annotated[str, typer.Option(help="The version to publish.")] = "HEAD",
    old: Annotated[str | None, typer.Option(help="Default: the previous version, as the campaign finds it.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Number of different seeds that must have passed.")] = MIN_SEEDS,
) -> None:
    """Fail unless the file proves that this upgrade was tried, with enough seeds, and violated nothing."""
    try:
        evidence = read(file)
        found = objections(
            evidence, old_commit=commit_of(old or previous_ref()), new_commit=commit_of(new), min_seeds=seeds
        )
    except (OSError, ValidationError, VersionUnavailable) as error:
        found = [str(error)]
    if found:
        sys.exit("\n".join([f"{file} is no evidence of this upgrade:", *(f"    {each}" for each in found)]))
    typer.echo(f"{evidence.old.ref} to {evidence.new.commit}: {len(evidence.campaigns)} campaigns passed")


if __name__ == "__main__":
    typer.run(check)
