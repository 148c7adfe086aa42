"""CI runs everything on every Python, and is red where it can't run on the Kafka that production runs."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.architecture.source import CHECKOUT

NOWHERE = "http://127.0.0.1:9"
GITHUB = CHECKOUT / ".github"
WRITING_JOBS = {("release.yml", "publish"): {"contents": "write"}}
"""The jobs that may do more than read the repository."""
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))


def test_ci_fails_before_any_check_if_apache_kafka_cannot_be_downloaded(tmp_path: Path) -> None:
    """The cache is empty and Maven Central cannot be reached. A stand-in for `make` records the targets."""
    make = tmp_path / "make"
    make.write_text('#!/bin/sh\necho "$@" >>"$HOME/made"\n')
    make.chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHON": sys.executable,
        "HOME": str(tmp_path),
        "HTTP_PROXY": NOWHERE,
        "HTTPS_PROXY": NOWHERE,
    }
    run = subprocess.run([CHECKOUT / ".ci" / "run"], env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 1, run.stdout
    assert "FAILED: Apache Kafka is not in the cache" in run.stdout
    assert (tmp_path / "made").read_text().splitlines() == ["venv"]


def test_ci_runs_on_every_python_from_the_oldest_supported_to_the_newest() -> None:
    workflow = _loaded(GITHUB / "workflows" / "ci.yml")
    job = workflow["jobs"]["check"]
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]

    assert job["strategy"] == {"fail-fast": False, "matrix": {"python": ["3.11", "3.12", "3.13", "3.14"]}}
    assert project["requires-python"] == ">=3.11"
    assert [step["run"] for step in job["steps"] if "run" in step] == ["make doctor", ".ci/run"]
    assert not any("continue-on-error" in part for part in (job, *job["steps"]))


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_a_workflow_may_only_read_and_ends_in_time(file: Path) -> None:
    workflow = _loaded(file)

    assert workflow["permissions"] == {"contents": "read"}
    assert [name for name, job in workflow["jobs"].items() if job["timeout-minutes"] > 40] == []
    found = {(file.name, name): job["permissions"] for name, job in workflow["jobs"].items() if "permissions" in job}
    assert found == {job: given for job, given in WRITING_JOBS.items() if job[0] == file.name}


def test_nothing_is_published_without_the_evidence_of_its_upgrade() -> None:
    """The step before the publication fails unless the evidence is of the published commit; `needs` waits for it."""
    jobs = _loaded(GITHUB / "workflows" / "release.yml")["jobs"]
    commands = {name: [step["run"] for step in job["steps"] if "run" in step] for name, job in jobs.items()}
    publishing = [name for name, found in commands.items() if any("gh release" in command for command in found)]

    assert publishing == ["publish"]
    assert jobs["publish"]["needs"] == "upgrade"
    assert commands["upgrade"] == ['make chaos-upgrade CHAOS="--seeds 10 --evidence upgrade-evidence.json"']
    check, publish = commands["publish"][-2:]
    assert check.split()[1:] == [
        "-m",
        "tests.chaos.upgrade.evidence",
        "upgrade-evidence.json",
        "--new",
        '"$GITHUB_SHA"',
    ]
    assert publish.startswith('gh release create "$GITHUB_REF_NAME"')
    assert "upgrade-evidence.json" in publish
    assert not any(key in part for job in jobs.values() for part in (job, *job["steps"]) for key in SKIPPING)
    # The old version is in the history.
    checkouts = [step["with"] for job in jobs.values() for step in job["steps"] if "checkout" in step.get("uses", "")]
    assert [checkout["fetch-depth"] for checkout in checkouts] == [0, 0]


SKIPPING = ("if", "continue-on-error")
"""Keys that would let a job go on after a failed step."""


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_a_workflow_names_its_actions_by_commit(file: Path) -> None:
    """A tag can be moved. The comment has the version, and dependabot raises both."""
    used = re.findall(r"uses: (.*)", file.read_text())

    assert used
    assert [each for each in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each)] == []


def test_issue_forms_and_dependabot_settings_are_well_formed() -> None:
    """GitHub silently ignores an issue form that it cannot read."""
    forms = [_loaded(GITHUB / "ISSUE_TEMPLATE" / name) for name in ("bug.yml", "feature.yml")]
    ids = [[part["id"] for part in form["body"]] for form in forms]
    updates = _loaded(GITHUB / "dependabot.yml")["updates"]

    assert [
        (form.keys() >= {"name", "description"}, len(set(each)) == len(each))
        for form, each in zip(forms, ids, strict=True)
    ] == [(True, True)] * 2
    assert {part["type"] for form in forms for part in form["body"]} <= {"textarea", "input", "checkboxes", "dropdown"}
    assert {update["package-ecosystem"] for update in updates} == {"uv", "github-actions", "docker"}
    folders = [folder for update in updates for folder in update.get("directories") or [update["directory"]]]
    assert [folder for folder in folders if not (CHECKOUT / folder.strip("/")).is_dir()] == []


def test_hooks_use_the_tools_of_the_virtual_environment() -> None:
    (repository,) = _loaded(CHECKOUT / ".pre-commit-config.yaml")["repos"]
    tools = {hook["entry"].split()[0] for hook in repository["hooks"]}

    assert repository["repo"] == "local"
    assert tools == {".venv/bin/ruff", ".venv/bin/lint-imports"}


def _loaded(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(file.read_text())
    return content
