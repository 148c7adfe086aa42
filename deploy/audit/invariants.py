"""Checking every invariant over all data: what the demo, the campaigns and a full run of the audit do."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta

from deploy.audit.checks import PAGE_KEYS, check_keys
from deploy.audit.context import Context, Topics
from deploy.audit.databases import Databases
from deploy.audit.findings import AT_ANY_MOMENT, Finding, Invariant, Key, Violation, findings_of, violated
from deploy.audit.products import check_products
from deploy.audit.sources import SENT_SOURCES, SOURCES
from deploy.audit.waiting import check_waiting

POLL_SECONDS = 0.5
_IN_PRODUCTION_ONLY = {Invariant.NO_OVERDUE_DELIVERY, Invariant.NO_OVERDUE_JOB}


async def pages(databases: Databases, *, page_keys: int = PAGE_KEYS) -> AsyncIterator[list[Key]]:
    """Yield the keys of all data but the products, which are checked together."""
    for name, next_page in {**SOURCES, **SENT_SOURCES}.items():
        after: str | None = "" if name != "products" else None
        while after is not None:
            keys, after = await next_page(databases, after, page_keys)
            yield keys


async def check_all(context: Context) -> AsyncIterator[tuple[list[Key], list[Violation]]]:
    """Yield, page by page, the checked keys and what they violate. Memory is bounded by a page."""
    async for keys in pages(context.databases):
        yield keys, await check_keys(context, keys)
    yield [], await check_products(context, None)
    yield [], await check_waiting(context)


async def check(databases: Databases, *, at_rest: bool = True, topics: Topics | None = None) -> list[Finding]:
    """Check every invariant once; without `at_rest` only those that hold at any moment."""
    context = Context(databases, datetime.now(UTC), grace=timedelta(0), at_rest=at_rest, topics=topics)
    checked = _checked(at_rest=at_rest, has_topics=topics is not None)
    found = {violation async for _, page in check_all(context) for violation in page}
    return findings_of(sorted(found, key=lambda each: (each.key, each.text)), checked=checked)


async def check_once_settled(
    databases: Databases, *, within: timedelta, on_wait: Callable[[Sequence[Finding]], None] = lambda _findings: None
) -> list[Finding]:
    """Check every invariant until none is violated, or until the time is over; return the last findings.

    Calls `on_wait` with the violated invariants each time before it waits.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within.total_seconds()
    while True:
        findings = await check(databases)
        if not violated(findings) or loop.time() > deadline:
            return findings
        on_wait([finding for finding in findings if finding.violations])
        await asyncio.sleep(POLL_SECONDS)


def _checked(*, at_rest: bool, has_topics: bool) -> frozenset[Invariant]:
    if not at_rest:
        return AT_ANY_MOMENT
    left_out = _IN_PRODUCTION_ONLY | (set() if has_topics else {Invariant.EVENT_IN_TOPIC})
    return frozenset(set(Invariant) - left_out)
