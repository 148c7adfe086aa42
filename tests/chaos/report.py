"""The report of a run of campaigns: a line for each, then tables of the faults and of the invariants."""

from collections import Counter
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from tests.chaos.campaign import CampaignResult

VIOLATIONS_SHOWN = 5


def summary_line(result: CampaignResult) -> Text:
    """Describe one campaign in one line."""
    mark = ("  ✓ ", "green") if result.passed else ("  ✗ ", "red")
    settled = result.settled_after_seconds
    return Text.assemble(
        mark,
        f"seed {result.seed:<6} {result.workload:<14} {result.events:>7,} events  {result.applied:>7,} applied  "
        f"{result.dead_letters:>5,} dead letters  {result.duplicates:>6,} repeated  {result.faults.total():>3} faults"
        f"{'' if settled is None else f'  settled after {settled:.1f} s'}",
    )


def faults_table(results: Sequence[CampaignResult]) -> Table:
    """Show how often each fault was injected and, in parentheses, what the faults caused."""
    faults: Counter[str] = Counter()
    effects: Counter[str] = Counter()
    for result in results:
        faults.update(result.faults)
        effects.update(result.effects)
    table = Table("fault", "count", box=None, header_style="bold", pad_edge=False)
    for name, count in sorted(faults.items()):
        table.add_row(name, f"{count:,}")
    for name, count in sorted(effects.items()):
        table.add_row(f"({name})", f"{count:,}")
    return table


def invariants_table(results: Sequence[CampaignResult]) -> Table:
    """Show each invariant over all campaigns, with its first violations and their seeds."""
    violations: dict[str, list[str]] = {}
    campaigns: Counter[str] = Counter()
    for result in results:
        for finding in result.findings:
            campaigns[finding.name] += 1
            violations.setdefault(finding.name, []).extend(
                f"seed {result.seed}, {result.workload}: {violation}" for violation in finding.violations
            )
    table = Table("invariant", "campaigns", "violations", box=None, header_style="bold", pad_edge=False)
    for name, found in violations.items():
        table.add_row(name, str(campaigns[name]), Text(str(len(found)), style="red" if found else "green"))
        for violation in found[:VIOLATIONS_SHOWN]:
            table.add_row(Text(f"    {violation}", style="red"), "", "")
    return table
