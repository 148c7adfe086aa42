"""The track record names only tests, mutants, campaigns and commits that exist."""

import ast
import re
import shlex
import subprocess
from functools import cache

import pytest

from tests.architecture.source import CHECKOUT
from tests.architecture.track_record import (
    AREAS,
    CAMPAIGN,
    FINDERS,
    MUTANT,
    SOURCE,
    Defect,
    defect_tables,
    read_defects,
    summary_table,
)
from tests.chaos.accounts import WORKLOADS
from tests.chaos.faults import FAULTS
from tests.chaos.mutants import MUTANTS
from tests.chaos.system_faults import SYSTEM_WORKLOADS

DEFECTS = [defect for found in read_defects(SOURCE.read_text()).values() for defect in found]
EXAMPLE = """
[[messaging]]
effect = "An event was lost."
since = "a214078"
found = "campaign: seed 7"
fixed = "0614d56"
proof = [\"\"\"tests/shared/test_cache.py
    ::test_an_empty_value_is_cached\"\"\", "mutant: no_inbox"]
"""


@cache
def names_of_tests(path: str) -> frozenset[str]:
    """Return the names of the test functions of a file; none if it is no file of tests."""
    file = CHECKOUT / path
    if not file.is_file() or not file.name.startswith("test_"):
        return frozenset()
    return frozenset(
        node.name
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    )


def is_test(node_id: str) -> bool:
    path, _, name = node_id.partition("::")
    return name in names_of_tests(path)


def unknown_words(command: str) -> set[str]:
    """Return what no campaign knows among the options, workloads and faults of a `make chaos` command."""
    (options,) = re.findall(r'^make chaos CHAOS="([^"]*)"$', command)
    words = shlex.split(options.strip())
    values = dict(zip(words[::2], words[1::2], strict=True))
    known = {*WORKLOADS, *SYSTEM_WORKLOADS, *FAULTS, *(name for faults in SYSTEM_WORKLOADS.values() for name in faults)}
    named = {name for option in ("--workload", "--faults") for name in values.pop(option, "").split(",") if name}
    return (named - known) | (values.keys() - {"--seed", "--seeds", "--seconds"})


def test_every_area_and_finder_is_known() -> None:
    assert list(read_defects(SOURCE.read_text())) == list(AREAS)
    assert {defect.finder for defect in DEFECTS} <= set(FINDERS)


def test_each_defect_is_told_once() -> None:
    effects = [defect.effect for defect in DEFECTS]
    assert sorted(effects) == sorted(set(effects))


def test_a_defect_has_a_proof_or_the_reason_why_not() -> None:
    assert [defect.effect for defect in DEFECTS if bool(defect.proof) == bool(defect.unproven)] == []


def test_every_named_test_exists() -> None:
    assert [test for defect in DEFECTS for test in defect.tests if not is_test(test)] == []
    assert not is_test("tests/architecture/test_track_record.py::test_that_was_renamed")
    assert not is_test("tests/architecture/test_gone.py::test_every_named_test_exists")


def test_every_named_mutant_exists() -> None:
    named = {proof.removeprefix(MUTANT) for defect in DEFECTS for proof in defect.proof if proof.startswith(MUTANT)}
    assert named - set(MUTANTS) == set()


def test_every_named_campaign_can_be_run() -> None:
    commands = {proof for defect in DEFECTS for proof in defect.proof if proof.startswith(CAMPAIGN)}
    assert {command: words for command in commands if (words := unknown_words(command))} == {}
    assert unknown_words('make chaos CHAOS="--seed 1 --workload orders --faults kill-the-moon"') == {"kill-the-moon"}


def test_every_named_commit_is_in_the_history() -> None:
    if _git("rev-parse", "--is-shallow-repository") == "true":
        pytest.skip("the clone is shallow: it has no history to look the commits up in")
    history = _git("rev-list", "HEAD").splitlines()
    missing = {
        name
        for defect in DEFECTS
        for name in defect.commits
        if len(name) < 7 or sum(commit.startswith(name) for commit in history) != 1
    }
    assert missing == set()


def test_an_entry_is_read_and_shown() -> None:
    areas = read_defects(EXAMPLE)
    areas |= {area: [] for area in AREAS if area not in areas}

    assert areas["messaging"] == [
        Defect(
            effect="An event was lost.",
            since="a214078",
            found="campaign: seed 7",
            fixed="0614d56",
            proof=("tests/shared/test_cache.py::test_an_empty_value_is_cached", "mutant: no_inbox"),
        )
    ]
    assert (
        "| An event was lost. | `a214078` | `0614d56` | campaign: seed 7 "
        "| [an empty value is cached](../tests/shared/test_cache.py); [mutant `no_inbox`](../tests/chaos/mutants.py) |"
    ) in defect_tables(areas)
    assert "| [Messaging](track-record.md#messaging) | 1 | 1 |  |" in summary_table(areas)


def test_an_entry_with_an_unknown_field_is_invalid() -> None:
    with pytest.raises(TypeError, match="sinec"):
        read_defects(EXAMPLE.replace("since", "sinec"))


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=CHECKOUT, capture_output=True, text=True, check=True)  # noqa: S607
    return done.stdout.strip()
