"""The report that the demo prints at its end: a table of the results, and a table of the invariants."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from deploy.audit.findings import Finding
from deploy.demo.latency import Latency, latency_to_confirmed, latency_to_mail
from deploy.demo.mails import Mails
from deploy.demo.request_log import INVALID_DATA, RequestLog
from deploy.demo.target import Memory
from deploy.demo.timelines import Timeline
from deploy.local.memory import MEGABYTE

TOTAL_MEMORY_GOAL, SERVICES_MEMORY_GOAL = 1200 * MEGABYTE, 400 * MEGABYTE
MAX_VIOLATIONS_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Results:
    """Everything that the report needs of a run."""

    invoices: int
    customers: int
    log: RequestLog
    timelines: Sequence[Timeline]
    mails: Mails
    memory: Memory | None
    retries: Counter[str]
    restarts: Counter[str]
    findings: Sequence[Finding]

    @property
    def has_passed(self) -> bool:
        """Return whether no invariant is violated."""
        return not any(finding.violations for finding in self.findings)


def results_table(results: Results) -> Table:
    """Return the table of orders, error responses, mails, latencies and memory."""
    table = Table("result", "count", "details", box=None, header_style="bold", pad_edge=False)
    table.columns[1].justify = "right"
    _add_orders(table, results)
    table.add_section()
    _add_errors(table, results)
    table.add_section()
    mails = results.mails.by_event_type()
    table.add_row("mails received", str(mails.total()), _listed(mails))
    if results.mails.repeats:
        table.add_row("mails received again", str(results.mails.repeats), "with the same Message-ID, after a crash")
    table.add_section()
    _add_latency(table, "latency, order to confirmation", latency_to_confirmed(results.timelines))
    _add_latency(table, "latency, order to mail", latency_to_mail(results.timelines, results.mails))
    if results.memory is not None:
        table.add_section()
        _add_memory(table, "memory, all processes", results.memory.total, goal=TOTAL_MEMORY_GOAL)
        _add_memory(table, "memory, the three services", results.memory.services, goal=SERVICES_MEMORY_GOAL)
    return table


def findings_table(findings: Sequence[Finding]) -> Table:
    """Return the table of the invariants, each with a mark and the first of its violations."""
    table = Table("", "invariant", "violations", box=None, header_style="bold", pad_edge=False)
    for finding in findings:
        shown = [*finding.violations[:MAX_VIOLATIONS_SHOWN]]
        if len(finding.violations) > MAX_VIOLATIONS_SHOWN:
            shown.append(f"and {len(finding.violations) - MAX_VIOLATIONS_SHOWN} more")
        mark = Text("✗", "red") if shown else Text("✓", "green")
        table.add_row(mark, Text(finding.name), Text("\n".join(shown)))
    return table


def _add_orders(table: Table, results: Results) -> None:
    timelines = results.timelines
    table.add_row("invoices", str(results.invoices), f"of {results.customers} customers")
    table.add_row("orders placed", str(len(timelines)), "")
    for status in ("confirmed", "rejected", "cancelled", "shipped", "delivered"):
        entries = [entry for timeline in timelines if (entry := timeline.entry(status)) is not None]
        table.add_row(f"  {status}", str(len(entries)), _listed(Counter(e.reason for e in entries if e.reason)))
    refunds = [entry for timeline in timelines for entry in timeline.entries if entry.is_refund]
    full = sum(entry.status == "refunded" for entry in refunds)
    table.add_row("  refunded", str(len(refunds)), f"in full ({full}), in part ({len(refunds) - full})")


def _add_errors(table: Table, results: Results) -> None:
    errors = results.log.errors
    invalid = sum(count for (kind, _), count in errors.items() if kind in INVALID_DATA)
    table.add_row("error responses", str(errors.total()), f"{invalid} of them to invalid data")
    by_code: dict[str, Counter[str]] = {}
    for (kind, code), count in errors.items():
        by_code.setdefault(code, Counter())[kind] += count
    for code, kinds in sorted(by_code.items()):
        table.add_row(f"  {code}", str(kinds.total()), _listed(kinds))
    if results.retries:
        table.add_row("requests retried", str(results.retries.total()), _listed(results.retries))
    if results.restarts:
        table.add_row("processes restarted", str(results.restarts.total()), _listed(results.restarts))


def _add_latency(table: Table, name: str, latency: Latency | None) -> None:
    if latency is not None:
        shown = f"p50 {_seconds(latency.p50)}, p99 {_seconds(latency.p99)}, maximum {_seconds(latency.maximum)}"
        table.add_row(name, str(latency.count), shown)


def _add_memory(table: Table, name: str, size: int, *, goal: int) -> None:
    mark = Text("✓ ", "green") if size < goal else Text("✗ ", "red")
    table.add_row(name, f"{size / MEGABYTE:.0f} MB", mark + Text(f"goal: less than {goal / MEGABYTE:.0f} MB"))


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{what} ({count})" for what, count in counts.most_common())


def _seconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
