"""One run of the audit: incremental, which reads a bounded number of rows, or full."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from time import monotonic

from deploy.audit.checks import check_keys
from deploy.audit.context import Context
from deploy.audit.databases import SERVICES
from deploy.audit.findings import Key, Kind, Violation
from deploy.audit.invariants import check_all
from deploy.audit.products import has_many_open_orders
from deploy.audit.sent_events import Place, place_in_generation
from deploy.audit.sources import SOURCES
from deploy.audit.touched import products_of, touched_since
from deploy.audit.waiting import check_waiting
from deploy.audit.watermarks import State

DEFAULT_MAX_KEYS = 6_000
"""Upper bound of the sent events that a run reads, and of the keys that it checks again. The rest follows."""
DEFAULT_PART_KEYS = 500
"""Rows of each table that a run checks without an event, so that damage is found that no event names. With a run a
minute, 10,000,000 orders are checked in 14 days."""


@dataclass(frozen=True)
class Limits:
    """The bounds of an incremental run."""

    max_keys: int = DEFAULT_MAX_KEYS
    part_keys: int = DEFAULT_PART_KEYS


@dataclass
class Outcome:
    """The outcome of a run. `reported` are the findings that nobody has accepted."""

    mode: str
    started_at: datetime
    seconds: float = 0.0
    checked: Counter[str] = field(default_factory=Counter)
    """The number of checked keys by kind."""
    reported: list[Violation] = field(default_factory=list)
    open: int = 0
    """The number of keys that are checked again because their differences are too young to count."""
    accepted: int = 0
    watermark_age_seconds: dict[str, float] = field(default_factory=dict)
    """The age of the last event that was read, by service, if settled ones are left; else 0."""
    skipped: list[str] = field(default_factory=list)
    """Checks that were left out, and why."""


async def run_incremental(context: Context, state: State, limits: Limits) -> Outcome:
    """Check what has changed since the last run, what was found or too young then, and a part of every table."""
    outcome, started = Outcome("incremental", context.now), monotonic()
    again, later = _to_check_again(state, limit=limits.max_keys // 2)
    keys = set(again)
    waiting: set[Key] = set()
    for service in SERVICES:
        watermark, state.generations[service] = await place_in_generation(
            context.databases[service],
            Place.of(state.watermarks.get(service, "")),
            state.generations.get(service),
        )
        limit = max(1, (limits.max_keys - len(again)) // len(SERVICES))
        touched = await touched_since(context, service, watermark, limit=limit)
        state.watermarks[service] = str(touched.watermark)
        age = (context.now - touched.read_until).total_seconds() if touched.read_until else 0.0
        outcome.watermark_age_seconds[service] = age
        keys |= touched.keys
        waiting |= touched.waiting
    for name, next_page in SOURCES.items():
        part, after = await next_page(context.databases, state.parts.get(name, ""), limits.part_keys)
        state.parts[name] = after or ""
        keys.update(part)
    keys |= await products_of(context, [key.value for key in keys if key.kind is Kind.ORDER])
    if await has_many_open_orders(context):
        keys = {key for key in keys if key.kind is not Kind.PRODUCT}
        outcome.skipped.append("stock: too many open orders for an incremental run")
    outcome.checked.update(key.kind for key in keys)
    found = await check_keys(context, keys)
    _keep(context, state, [*later, *found, *await check_waiting(context)], also_open=waiting)
    return _completed(outcome, state, started=started)


async def run_full(context: Context, state: State) -> Outcome:
    """Check all data, page by page. The watermarks stay where they are."""
    outcome, started = Outcome("full", context.now), monotonic()
    found: list[Violation] = []
    async for keys, violations in check_all(context):
        outcome.checked.update(key.kind for key in keys)
        found += violations
    _keep(context, state, found)
    return _completed(outcome, state, started=started)


def _to_check_again(state: State, *, limit: int) -> tuple[list[Key], list[Violation]]:
    """Return the keys to check again, and the violations that stay for a later run, as there are too many."""
    waiting = dict.fromkeys(state.open)
    by_key = dict.fromkeys([*waiting, *(each.key for each in state.found if each.key.kind is not Kind.WAITING)])
    again = list(by_key)[:limit]
    later = [each for each in state.found if each.key.kind is not Kind.WAITING and each.key not in set(again)]
    return again, later


def _keep(context: Context, state: State, violations: list[Violation], *, also_open: Collection[Key] = ()) -> None:
    """Keep what counts as found, and the keys of what is too young as open."""
    counted = [each for each in violations if context.counts(each.changed_at)]
    young = {each.key for each in violations if not context.counts(each.changed_at)}
    state.open = sorted(young | set(also_open))
    state.replace_found(counted, now=context.now)


def _completed(outcome: Outcome, state: State, *, started: float) -> Outcome:
    outcome.reported = state.reported
    outcome.accepted = len(state.found) - len(state.reported)
    outcome.open = len(state.open)
    outcome.seconds = monotonic() - started
    return outcome
