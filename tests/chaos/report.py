"""What a run of campaigns shows: a line for each, then the faults, then the invariants."""

from collections import Counter
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from tests.chaos.campaign import Outcome

VIOLATIONS_SHOWN = 5


def line_of(outcome: Outcome) -> Text:
    """One campaign in one line."""
    mark = ("  ✓ ", "green") if outcome.is_whole else ("  ✗ ", "red")
    faults = sum(times for name, times in outcome.faults.items() if not name.startswith("("))
    rest = "" if outcome.rest_seconds is None else f"  at rest after {outcome.rest_seconds:.1f} s"
    return Text.assemble(
        mark,
        f"seed {outcome.seed:<6} {outcome.workload:<14} {outcome.events:>7,} events  {outcome.applied:>7,} applied  "
        f"{outcome.dead_letters:>5,} parked  {outcome.duplicates:>6,} repeated  {faults:>3} faults{rest}",
    )


def faults_table(outcomes: Sequence[Outcome]) -> Table:
    """How often each fault was injected; in brackets what came of them."""
    counts: Counter[str] = Counter()
    for outcome in outcomes:
        counts.update(outcome.faults)
    table = Table("fault", "times", box=None, header_style="bold", pad_edge=False)
    for name, times in sorted(counts.items(), key=lambda item: (item[0].startswith("("), item[0])):
        table.add_row(name, f"{times:,}")
    return table


def invariants_table(outcomes: Sequence[Outcome]) -> Table:
    """Each invariant over all campaigns, with the first of its violations and their seeds."""
    violations: dict[str, list[str]] = {}
    checks: Counter[str] = Counter()
    for outcome in outcomes:
        for finding in outcome.findings:
            checks[finding.name] += 1
            violations.setdefault(finding.name, []).extend(
                f"seed {outcome.seed}, {outcome.workload}: {violation}" for violation in finding.violations
            )
    table = Table("invariant", "campaigns", "broken", box=None, header_style="bold", pad_edge=False)
    for name, found in violations.items():
        table.add_row(name, str(checks[name]), Text(str(len(found)), style="red" if found else "green"))
        for violation in found[:VIOLATIONS_SHOWN]:
            table.add_row(Text(f"    {violation}", style="red"), "", "")
    return table
