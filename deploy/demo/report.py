"""What the demo shows at its end: what became of everything, and whether the invariants hold."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from deploy.demo.invariants import Finding
from deploy.demo.latency import Latency, latency_to_confirmed, latency_to_mail
from deploy.demo.ledger import DIRT, Ledger
from deploy.demo.outcomes import Mails, Outcome
from deploy.demo.running import Memory

MEGABYTE = 1024 * 1024
WHOLE_GOAL, SERVICES_GOAL = 1200 * MEGABYTE, 400 * MEGABYTE
VIOLATIONS_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Results:
    """Everything that a run has to tell."""

    invoices: int
    customers: int
    ledger: Ledger
    outcomes: Sequence[Outcome]
    mails: Mails
    memory: Memory
    retries: Counter[str]
    restarts: Counter[str]
    findings: Sequence[Finding]

    @property
    def is_whole(self) -> bool:
        """Whether nothing was violated."""
        return not any(finding.violations for finding in self.findings)


def results_table(results: Results) -> Table:
    """One table: orders, errors, mails, latencies, memory."""
    table = Table("what", "count", "of which", box=None, header_style="bold", pad_edge=False)
    table.columns[1].justify = "right"
    _add_orders(table, results)
    table.add_section()
    _add_errors(table, results)
    table.add_section()
    kinds = results.mails.kinds()
    table.add_row("mails received", str(kinds.total()), _listed(kinds))
    if results.mails.repeats:
        table.add_row("mails repeated", str(results.mails.repeats), "after a crash, with the same Message-ID")
    table.add_section()
    _add_latency(table, "POST to confirmed", latency_to_confirmed(results.outcomes))
    _add_latency(table, "POST to mail", latency_to_mail(results.outcomes, results.mails))
    table.add_section()
    _add_memory(table, "memory of everything", results.memory.whole, goal=WHOLE_GOAL)
    _add_memory(table, "memory of the three services", results.memory.services, goal=SERVICES_GOAL)
    return table


def findings_table(findings: Sequence[Finding]) -> Table:
    """Each invariant with a mark, and the first of its violations."""
    table = Table("", "invariant", "violations", box=None, header_style="bold", pad_edge=False)
    for finding in findings:
        shown = [*finding.violations[:VIOLATIONS_SHOWN]]
        if len(finding.violations) > VIOLATIONS_SHOWN:
            shown.append(f"and {len(finding.violations) - VIOLATIONS_SHOWN} more")
        mark = Text("✗", "red") if shown else Text("✓", "green")
        table.add_row(mark, Text(finding.name), Text("\n".join(shown)))
    return table


def _add_orders(table: Table, results: Results) -> None:
    outcomes = results.outcomes
    table.add_row("invoices sent", str(results.invoices), f"of {results.customers} customers")
    table.add_row("orders placed", str(len(outcomes)), "")
    for status in ("confirmed", "rejected", "cancelled", "shipped", "delivered"):
        entries = [entry for outcome in outcomes if (entry := outcome.entry(status)) is not None]
        table.add_row(f"  {status}", str(len(entries)), _listed(Counter(e.reason for e in entries if e.reason)))
    refunds = [entry for outcome in outcomes for entry in outcome.entries if entry.is_refund]
    whole = sum(entry.status == "refunded" for entry in refunds)
    table.add_row("  refunded", str(len(refunds)), f"{whole} in whole, {len(refunds) - whole} in part")


def _add_errors(table: Table, results: Results) -> None:
    errors = results.ledger.errors
    of_dirt = sum(count for (sent, _), count in errors.items() if sent in DIRT)
    table.add_row("errors of the API", str(errors.total()), f"{of_dirt} of them for dirt in the data")
    by_code: dict[str, Counter[str]] = {}
    for (sent, code), count in errors.items():
        by_code.setdefault(code, Counter())[sent] += count
    for code, causes in sorted(by_code.items()):
        table.add_row(f"  {code}", str(causes.total()), _listed(causes))
    if results.retries:
        table.add_row("requests repeated", str(results.retries.total()), _listed(results.retries))
    if results.restarts:
        table.add_row("processes restarted", str(results.restarts.total()), _listed(results.restarts))


def _add_latency(table: Table, name: str, latency: Latency | None) -> None:
    if latency is not None:
        shown = f"p50 {_seconds(latency.p50)}, p99 {_seconds(latency.p99)}, longest {_seconds(latency.longest)}"
        table.add_row(name, str(latency.count), shown)


def _add_memory(table: Table, name: str, size: int, *, goal: int) -> None:
    mark = Text("✓ ", "green") if size < goal else Text("✗ ", "red")
    table.add_row(name, f"{size / MEGABYTE:.0f} MB", mark + Text(f"goal: less than {goal / MEGABYTE:.0f} MB"))


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts.most_common())


def _seconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
