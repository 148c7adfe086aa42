"""Only the evidence of exactly this upgrade, with enough seeds and without a violation, lets a release be published."""

import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deploy.local.state import CHECKOUT
from tests.chaos.upgrade.evidence import (
    JOURNEYS,
    REQUIRED_FINDINGS,
    CampaignRecord,
    Evidence,
    FindingRecord,
    VersionRecord,
    objections,
    read,
    write,
)
from tests.chaos.upgrade.versions import commit_of

NOW = datetime(2026, 11, 29, tzinfo=UTC)
OLD, NEW = "a" * 40, "b" * 40
PASSED = dict.fromkeys(REQUIRED_FINDINGS, ())


def campaign(seed: int, findings: dict[str, Sequence[str]] | None = None) -> CampaignRecord:
    return CampaignRecord(
        seed=seed,
        started_at=NOW,
        ended_at=NOW,
        steps=(),
        orders=1,
        journeys=1,
        faults={},
        effects={},
        retries={},
        findings=tuple(
            FindingRecord(name=name, violations=tuple(violations))
            for name, violations in sorted((PASSED if findings is None else findings).items())
        ),
    )


def evidence(
    *campaigns: CampaignRecord, old: str = OLD, new: str = NEW, modified: bool = False, plant: str | None = None
) -> Evidence:
    return Evidence(
        old=VersionRecord(ref="v1", commit=old, is_modified=False),
        new=VersionRecord(ref="HEAD", commit=new, is_modified=modified),
        plant=plant,
        migrations={},
        golden_events=1,
        started_at=NOW,
        ended_at=NOW,
        campaigns=campaigns or (campaign(1), campaign(2)),
    )


def test_the_evidence_of_this_upgrade_is_accepted() -> None:
    assert objections(evidence(), old_commit=OLD, new_commit=NEW, min_seeds=2) == []
    assert evidence().has_passed


@pytest.mark.parametrize(
    ("wrong", "objection"),
    [
        (evidence(old="c" * 40), f"The old version is {'c' * 40}, not {OLD}"),
        (evidence(new="c" * 40), f"The new version is {'c' * 40}, not {NEW}"),
        (evidence(modified=True), "The new version had uncommitted changes"),
        (evidence(plant="cache"), "The new version had a planted change: cache"),
        (evidence(campaign(1)), "1 seeds were run, at least 2 are needed"),
        (evidence(campaign(1), campaign(1)), "1 seeds were run, at least 2 are needed"),
        (
            evidence(campaign(1), campaign(2, {**PASSED, JOURNEYS: ["no mail"]})),
            f"seed 2: {JOURNEYS}: no mail",
        ),
        (
            evidence(campaign(1), campaign(2, dict.fromkeys(REQUIRED_FINDINGS - {JOURNEYS}, ()))),
            f"seed 2 did not check: {JOURNEYS}",
        ),
    ],
)
def test_other_evidence_is_refused(wrong: Evidence, objection: str) -> None:
    assert objections(wrong, old_commit=OLD, new_commit=NEW, min_seeds=2) == [objection]


def test_a_version_is_no_upgrade_of_itself() -> None:
    same = evidence(new=OLD)
    assert objections(same, old_commit=OLD, new_commit=OLD, min_seeds=2) == ["Both versions are the same commit"]


def test_evidence_without_a_campaign_has_not_passed() -> None:
    assert not evidence().model_copy(update={"campaigns": ()}).has_passed


def test_evidence_is_read_as_it_was_written(tmp_path: Path) -> None:
    write(tmp_path / "evidence.json", evidence())
    assert read(tmp_path / "evidence.json") == evidence()
    assert [path.name for path in tmp_path.iterdir()] == ["evidence.json"]


def test_the_command_of_the_workflow_fails_and_says_why(tmp_path: Path) -> None:
    file, head = tmp_path / "evidence.json", commit_of("HEAD")
    missing = checked(file)
    file.write_text('{"format": 2}')
    unreadable = checked(file)
    write(file, evidence(campaign(1), new=head, old=OLD))
    too_few = checked(file)

    assert (missing.returncode, unreadable.returncode, too_few.returncode) == (1, 1, 1)
    assert "No such file" in missing.stderr
    assert "format" in unreadable.stderr
    assert "1 seeds were run, at least 2 are needed" in too_few.stderr


def checked(file: Path) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "tests.chaos.upgrade.evidence",
        file,
        "--old",
        "HEAD",
        "--seeds",
        "2",
    ]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
