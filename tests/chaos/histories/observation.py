"""Observes the history of one campaign on the whole system: contention, samples, and the rules at the end."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.audit.findings import Finding
from tests.chaos.histories.cache_outages import PRODUCT_CACHE_SECONDS, CacheOutages, max_cached_seconds
from tests.chaos.histories.checker import check
from tests.chaos.histories.contention import Contention
from tests.chaos.histories.final_state import read_final_state
from tests.chaos.histories.history import Observed, Outcome
from tests.chaos.histories.recorder import Recorder
from tests.chaos.histories.samples import Sampler

ROUND_INTERVAL_SECONDS = 1.0
"""Delay between two rounds of the contention workload; a shorter one competes with the demo's orders."""


@dataclass(frozen=True)
class HistoryObservation:
    """The record of one campaign, and the means to judge it."""

    recorder: Recorder
    contention: Contention
    sampler: Sampler
    outages: CacheOutages

    @asynccontextmanager
    async def contending(self) -> AsyncIterator[None]:
        """Run the contention workload until the end of the block. Its users and products exist already."""
        async with running_beside(self.contention.run(interval_seconds=ROUND_INTERVAL_SECONDS)):
            yield

    async def findings(self) -> list[Finding]:
        """Return every rule with its violations. Call it once everything is applied."""
        self.outages.look()
        requests = list(self.recorder.requests)
        return check(
            Observed(
                requests=requests,
                final=await read_final_state(self.sampler.databases, requests),
                samples=self.sampler.violations(),
                cache_outages=self.outages.found,
                cache_seconds=max_cached_seconds(PRODUCT_CACHE_SECONDS),
            )
        )

    def counts(self) -> Counter[str]:
        """Return how much there was to judge."""
        requests = self.recorder.requests
        return Counter(
            {
                "requests in the history": len(requests),
                "requests with an unknown outcome": sum(one.outcome is Outcome.UNKNOWN for one in requests),
                "outages of the cache": len(self.outages.found),
                "samples of credit and stock": self.sampler.taken,
            }
        )


@asynccontextmanager
async def observed_history(
    recorder: Recorder,
    *,
    gateway_url: str,
    databases: Mapping[str, str],
    orders_log: Path,
    admin_password: str,
    seed: int,
) -> AsyncIterator[HistoryObservation]:
    """Take samples and follow the log of the orders service until the end of the block."""
    contention = Contention(recorder, lambda _path: gateway_url, admin_password, seed)
    sampler, outages = Sampler(databases, recorder.began), CacheOutages(orders_log, recorder.began)
    try:
        async with running_beside(sampler.run()), running_beside(outages.run()):
            yield HistoryObservation(recorder, contention, sampler, outages)
    finally:
        await contention.close()


@asynccontextmanager
async def running_beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run a coroutine beside the block, and cancel it at its end. Raises: the coroutine's own error."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        (outcome,) = await asyncio.gather(task, return_exceptions=True)
    if isinstance(outcome, Exception):
        raise outcome
