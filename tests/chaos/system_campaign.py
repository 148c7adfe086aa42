"""A campaign on the whole system: the demo's orders through the gateway under faults, then the demo's invariants."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from deploy.demo.accounts import Account
from deploy.demo.catalogue import products_of
from deploy.demo.client import Answer, Client
from deploy.demo.invoices import Invoice, invoices_of, read_lines
from deploy.demo.report import Results
from deploy.demo.run import DemoRun, Options
from deploy.local.credentials import SERVICES
from tests.chaos.campaign import CampaignResult
from tests.chaos.histories import applied_times
from tests.chaos.histories.observation import HistoryObservation, observed_history
from tests.chaos.history_page.record import CampaignRecord
from tests.chaos.hostile_dead_letters import discard_hostile
from tests.chaos.injector import Fault, Injector
from tests.chaos.system import SystemUnderTest
from tests.chaos.system_faults import GREYLISTING
from tests.harness.waiting import until

INVOICES_PER_SECOND = 3
CONCURRENCY = 8
LOW_CREDIT_CENTS = 20_000
"""The credit limit of some customers; a lower one makes more orders fail."""
AMBIGUOUS_ANSWERS = {
    "internal_error": "status_500",
    "status_404": "gateway_404",
    "token_expired": "token_expired",
}
"""Codes that say nothing about the request: a bug of ours, a gateway that has not loaded its routes yet, and a token
that has not expired, except by two services' clocks that are wrong in opposite directions."""
MAX_RETRIES = 60
RETRY_DELAY_SECONDS = 0.5
REQUEST_TIMEOUT_SECONDS = 30.0
SETTLE_TIMEOUT_SECONDS = 120.0
"""A mail that was under way when its process died is retried after 30 s, and its events follow."""

MAIL_POLL_SECONDS = 1.0
MAIL_TIMEOUT_SECONDS = 120.0
"""Time for the mails to be sent after the last recipient was accepted."""

_EVENTS = "SELECT sum(sequence)::bigint FROM event_stream"
_APPLIED = "SELECT count(*) FROM inbox"


class PacedClient(Client):
    """Spreads the orders over the campaign, and repeats requests with an ambiguous answer."""

    async def send(self, method: str, path: str, **request: Any) -> Answer:
        """Send the request, and repeat it with the same Idempotency-Key."""
        if (method, path) == ("POST", "/v1/orders"):
            await asyncio.sleep(CONCURRENCY / INVOICES_PER_SECOND)
        for _ in range(MAX_RETRIES):
            answer = await super().send(method, path, **request)
            if answer.code not in AMBIGUOUS_ANSWERS:
                break
            self.retries[AMBIGUOUS_ANSWERS[answer.code]] += 1
            await asyncio.sleep(RETRY_DELAY_SECONDS)
        return answer


@dataclass(frozen=True)
class RunUnderFaults(DemoRun):
    """A run of the demo with faults while its orders are placed."""

    injector: Injector[SystemUnderTest] = field(kw_only=True)
    history: HistoryObservation = field(kw_only=True)
    mail_timeout_seconds: float = field(default=0, kw_only=True)
    """Time for the mails to be sent before the system is judged; 0 without a wait of its own."""

    async def place_orders(
        self,
        invoices: Sequence[Invoice],
        *,
        admin: Account,
        accounts: Mapping[str, Account],
        stock_codes: Collection[str],
    ) -> None:
        system = self.injector.target
        await self.history.contention.set_up()
        self.injector.start()
        try:
            async with self.history.contending():
                await super().place_orders(invoices, admin=admin, accounts=accounts, stock_codes=stock_codes)
        finally:
            # Else they would go on in the next campaign.
            try:
                await self.injector.stop()
            finally:
                system.end_faults()
        await system.wait_until_ready()
        await self.history.contention.read_everything()
        self.injector.effects["hostile dead letters"] += await discard_hostile(
            system.hostile, system.topics, databases=system.running.databases
        )
        if self.mail_timeout_seconds:
            await until(
                lambda: _has_no_open_delivery(system),
                seconds=self.mail_timeout_seconds,
                poll_seconds=MAIL_POLL_SECONDS,
                what="every mail has been sent or given up",
            )


async def run_system_campaign(
    system: SystemUnderTest,
    *,
    workload: str,
    seed: int,
    seconds: float,
    faults: Mapping[str, Fault[SystemUnderTest]],
    mean_interval_seconds: float,
    greylisting_seconds: float,
    record: CampaignRecord,
) -> CampaignResult:
    """Place orders under faults, wait until the system has settled, and check every invariant and every history."""
    injector = Injector(
        system,
        faults,
        random.Random(seed),  # noqa: S311 - reproducible by its seed
        mean_interval_seconds,
    )
    record.faults, record.databases = injector.log, system.running.databases
    for service in SERVICES:
        await applied_times.add_column(system.admin_url(service))
    events_before, applied_before = await system.count(_EVENTS), await system.count(_APPLIED)
    before = _effects(system)
    async with (
        _greylisted(system, workload, greylisting_seconds) as mail_timeout_seconds,
        _observed(system, record, seed=seed) as history,
    ):
        results = await _run_demo(
            system,
            injector,
            history,
            invoices=int(seconds * INVOICES_PER_SECOND),
            mail_timeout_seconds=mail_timeout_seconds,
        )
        history_findings = await history.findings()
    effects = _effects(system)
    effects.subtract(before)
    for counts in (injector.effects, history.counts(), _effects_on_clients(results)):
        effects.update(counts)
    return CampaignResult(
        seed=seed,
        workload=workload,
        findings=[*results.findings, *history_findings],
        faults=injector.counts,
        effects=effects,
        events=await system.count(_EVENTS) - events_before,
        applied=await system.count(_APPLIED) - applied_before,
        duplicates=results.mails.repeats,
    )


@asynccontextmanager
async def _greylisted(system: SystemUnderTest, workload: str, seconds: float) -> AsyncIterator[float]:
    """Turn each recipient away for some seconds, if that is the workload; yield the time that mails need then."""
    greylisting = system.proxies.greylisting
    is_greylisted = workload == GREYLISTING
    greylisting.greylist(seconds if is_greylisted else 0)
    try:
        yield seconds + MAIL_TIMEOUT_SECONDS if is_greylisted else 0
    finally:
        greylisting.greylist(0)


def _observed(
    system: SystemUnderTest, record: CampaignRecord, *, seed: int
) -> AbstractAsyncContextManager[HistoryObservation]:
    return observed_history(
        record.recorder,
        gateway_url=system.running.gateway_url,
        databases=system.running.databases,
        orders_log=system.settings.logs / "orders.log",
        admin_password=system.running.admin_password,
        seed=seed,
    )


def _effects(system: SystemUnderTest) -> Counter[str]:
    return Counter(
        {
            "commits cut": system.proxies.cuts("postgres"),
            "leaders changed": system.servers.leaders.changes,
            "mails cut": system.proxies.mail.cuts,
            "mails greylisted": system.proxies.greylisting.turned_away,
        }
    )


def _effects_on_clients(results: Results) -> Counter[str]:
    restarts = sum(results.restarts[service] for service in SERVICES)
    answers = {f"answered {name}": results.retries[name] for name in AMBIGUOUS_ANSWERS.values()}
    return Counter({"services restarted": restarts, **answers})


async def _has_no_open_delivery(system: SystemUnderTest) -> bool:
    return not await system.count_open_deliveries()


async def _run_demo(
    system: SystemUnderTest,
    injector: Injector[SystemUnderTest],
    history: HistoryObservation,
    *,
    invoices: int,
    mail_timeout_seconds: float,
) -> Results:
    """Run the demo with consecutive invoices of its data; the seed chooses the first one."""
    options = Options(
        invoices=invoices,
        concurrency=CONCURRENCY,
        low_credit_limit_cents=LOW_CREDIT_CENTS,
        settle_seconds=SETTLE_TIMEOUT_SECONDS,
        kill=None,
    )
    lines = read_lines()
    all_invoices = invoices_of(lines)
    first = injector.rng.randrange(max(1, len(all_invoices) - invoices))
    restarts_before = system.running.restarts()
    gateway_url = system.running.gateway_url
    async with history.recorder.client("demo", base_url=gateway_url, timeout_seconds=REQUEST_TIMEOUT_SECONDS) as http:
        paced = PacedClient(http)
        run = RunUnderFaults(
            options,
            system.running,
            system.screen,
            paced,
            restarts_before,
            injector=injector,
            history=history,
            mail_timeout_seconds=mail_timeout_seconds,
        )
        return await run.carry_out(
            all_invoices[first : first + invoices],
            stock_codes={product["sku"] for product in products_of(lines)},
        )
