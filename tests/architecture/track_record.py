"""The defects of docs/track-record.toml, and the tables of docs/ that are made of them."""

import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from tests.architecture.source import CHECKOUT

SOURCE = CHECKOUT / "docs" / "track-record.toml"
AREAS = {
    "messaging": "Messaging",
    "services": "Orders, credit and notifications",
    "http": "HTTP, sign-in and the gateway",
    "operations": "Health, jobs and commands",
    "growth": "Growth, locks and load",
    "security": "Secrets, transports and roles",
    "deployment": "Installing and running",
    "proofs": "Proofs: campaigns, tests and benchmarks",
}
"""The areas and their headings, in the order of the page."""
FINDERS = (
    "campaign",
    "drill",
    "audit",
    "benchmark",
    "demo",
    "test",
    "review",
    "use",
    "development",
    "not recorded",
)
MUTANT = "mutant: "
CAMPAIGN = "make chaos "


@dataclass(frozen=True, kw_only=True)
class Defect:
    """One entry; the head of the file explains its fields. `proof` holds what brings the defect back."""

    effect: str
    since: str
    found: str
    fixed: str = ""
    proof: tuple[str, ...] = ()
    unproven: str = ""

    @property
    def finder(self) -> str:
        """Return the way in which it was found, without details."""
        return self.found.partition(":")[0]

    @property
    def commits(self) -> list[str]:
        """Return the commits that it names."""
        return re.findall(r"[^\s,]+", f"{self.since} {self.fixed}".replace("unknown", ""))

    @property
    def tests(self) -> list[str]:
        """Return the pytest node ids among its proofs."""
        return [proof for proof in self.proof if not proof.startswith((MUTANT, CAMPAIGN))]


def read_defects(text: str) -> dict[str, list[Defect]]:
    """Return the defects by area. Raises: TypeError for an entry with an unknown or a missing field."""
    areas: dict[str, list[Defect]] = {}
    for area, entries in tomllib.loads(text).items():
        areas[area] = [_defect_of(entry) for entry in entries]
    return areas


def defect_tables(areas: Mapping[str, list[Defect]]) -> str:
    """Return the page's sections: a table of the defects of each area."""
    head = "| what happened | since | fixed in | found by | brought back by |\n|---|---|---|---|---|"
    sections = []
    for area, title in AREAS.items():
        rows = "\n".join(_row(defect) for defect in areas[area])
        sections.append(f"## {title}\n\n{head}\n{rows}")
    return "\n\n".join(sections)


def summary_table(areas: Mapping[str, list[Defect]]) -> str:
    """Return the table of docs/guarantees.md: how many defects of each area were found, and by what."""
    finders = [finder for finder in FINDERS if any(each.finder == finder for found in areas.values() for each in found)]
    lines = [
        f"| area | defects | {' | '.join(finders)} | without a proof |",
        "|---|---|" + "---|" * (len(finders) + 1),
    ]
    for area, title in AREAS.items():
        anchor = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        lines.append(_counts(f"[{title}](track-record.md#{anchor})", areas[area], finders))
    lines.append(_counts("all", [each for area in AREAS for each in areas[area]], finders))
    return "\n".join(lines)


def _defect_of(entry: Mapping[str, object]) -> Defect:
    # Line breaks are the file's: a node id has no space, other texts have one instead.
    texts = {name: " ".join(value.split()) for name, value in entry.items() if isinstance(value, str)}
    others = {name: value for name, value in entry.items() if not isinstance(value, str)}
    proof = others.pop("proof", [])
    assert isinstance(proof, list), proof
    proofs = tuple((" " if text.startswith((MUTANT, CAMPAIGN)) else "").join(text.split()) for text in proof)
    return Defect(**texts, **others, proof=proofs)  # type: ignore[arg-type]  # unknown fields are what TypeError is for


def _row(defect: Defect) -> str:
    proofs = "; ".join(_link(proof) for proof in defect.proof) or f"*nothing:* {defect.unproven}"
    fixed = _code(defect.fixed) if defect.fixed else "with this entry"
    return f"| {defect.effect} | {_code(defect.since)} | {fixed} | {defect.found} | {proofs} |"


def _code(commits: str) -> str:
    return commits if commits == "unknown" else ", ".join(f"`{commit}`" for commit in commits.split(", "))


def _link(proof: str) -> str:
    if proof.startswith(CAMPAIGN):
        return f"`{proof}`"
    if proof.startswith(MUTANT):
        return f"[mutant `{proof.removeprefix(MUTANT)}`](../tests/chaos/mutants.py)"
    path, _, name = proof.partition("::")
    return f"[{name.removeprefix('test_').replace('_', ' ')}](../{path})"


def _counts(title: str, defects: list[Defect], finders: list[str]) -> str:
    found = Counter(defect.finder for defect in defects)
    numbers = [len(defects), *(found[finder] for finder in finders), sum(not defect.proof for defect in defects)]
    return f"| {title} | {' | '.join(str(number or '') for number in numbers)} |"
