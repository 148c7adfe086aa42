"""The report of a drill: a line for each database, and what contradicts the promises."""

from dataclasses import dataclass, field

from rich.table import Table
from rich.text import Text

from tests.drill.rounds import Round
from tests.drill.settling import Settlement


@dataclass
class Outcome:
    """The rounds so far."""

    rounds: list[tuple[Round, Settlement]] = field(default_factory=list)
    accepted: set[str] = field(default_factory=set)
    """The ids of the findings that nothing makes whole."""

    @property
    def problems(self) -> list[str]:
        """The contradictions to the promises: lost commits, and findings that do not settle."""
        found: list[str] = []
        for one, settlement in self.rounds:
            found += one.violations
            # After a restore to the newest state there is nothing to settle.
            found += [f"{one.name}: {each.text}" for each in settlement.left]
            if not one.back_seconds:
                found += [f"{one.name}: {each.text}, before it was settled" for each in settlement.found]
            found += [f"{one.name}: {each}" for each in settlement.failed]
        return found


def line_of(one: Round, settlement: Settlement) -> str:
    """Describe a round in one line."""
    seconds = max(each.recovery_seconds for each in one.databases)
    found = (
        f"{len(settlement.found)} findings, {settlement.accepted} accepted, {len(settlement.left)} left"
        if settlement.found
        else "no findings"
    )
    return f"{one.name}: back after {seconds:.1f} s, {found}"


def table_of(outcome: Outcome) -> Table:
    """Show what each restore has brought back, and when."""
    headings = (
        "restored",
        "database",
        "recovery point",
        "recovery time",
        "commits lost",
        "too many",
        "findings",
        "left",
    )
    table = Table(*headings, box=None, header_style="bold", pad_edge=False)
    for one, settlement in outcome.rounds:
        for position, each in enumerate(one.databases):
            table.add_row(
                one.name if position == 0 else "",
                each.service,
                f"{each.recovery_point_seconds:.3f} s",
                f"{each.recovery_seconds:.1f} s",
                *(
                    Text(str(count), style="red" if count else "green")
                    for count in (each.lost_commits, each.surplus_commits)
                ),
                *(
                    (str(len(settlement.found)), str(settlement.accepted), str(len(settlement.left)))
                    if position == 0
                    else ("", "", "")
                ),
            )
    return table
