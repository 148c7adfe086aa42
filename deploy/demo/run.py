"""One run of the demo: its steps, from finding a system to printing the report."""

import secrets
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from time import monotonic

from deploy.audit.databases import connected
from deploy.audit.findings import Finding
from deploy.audit.invariants import check_once_settled
from deploy.demo.accounts import Account, customers_of, sign_up, signed_in_admin
from deploy.demo.catalogue import products_of
from deploy.demo.client import Client, open_client
from deploy.demo.fulfilment import Fulfilment
from deploy.demo.invoices import Invoice, invoices_of, read_lines
from deploy.demo.mails import mail_violations, mails_of
from deploy.demo.order_placement import OrderPlacement
from deploy.demo.report import Results, findings_table, results_table
from deploy.demo.request_log import RequestLog
from deploy.demo.target import Target
from deploy.demo.timelines import timelines_of
from deploy.local.screen import Advance, Screen

NOTE_INTERVAL_SECONDS = 5
"""Interval between notes about an invariant that does not hold yet."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of a run, as on the command line."""

    invoices: int
    concurrency: int
    low_credit_limit_cents: int
    settle_seconds: float
    kill: str | None


async def run_demo(options: Options, *, screen: Screen, opened: AbstractAsyncContextManager[Target]) -> bool:
    """Run the demo, print its report, and return whether every invariant holds.

    Raises: LocalError, RequestFailed, or a group of them.
    """
    lines = read_lines()
    stock_codes = {product["sku"] for product in products_of(lines)}
    async with opened as system:
        async with open_client(system.gateway_url) as client:
            run = DemoRun(options, system, screen, client, restarts_before=system.restarts())
            results = await run.carry_out(invoices_of(lines)[: options.invoices], stock_codes=stock_codes)
        screen.table(results_table(results))
        screen.table(findings_table(results.findings))
    return results.has_passed


@dataclass(frozen=True)
class DemoRun:
    """The steps of a run, and what they share."""

    options: Options
    system: Target
    screen: Screen
    client: Client
    restarts_before: Counter[str]
    tag: str = field(default_factory=lambda: secrets.token_hex(4))
    """Part of this run's mail addresses and Idempotency-Keys, so that two runs share none."""
    log: RequestLog = field(default_factory=RequestLog)

    async def carry_out(self, invoices: Sequence[Invoice], *, stock_codes: Collection[str]) -> Results:
        """Do every step of the run. `stock_codes`: those in the catalogue."""
        admin = await signed_in_admin(self.client, password=self.system.admin_password)
        accounts = await self._sign_up(customers_of(invoices), admin=admin)
        await self.place_orders(invoices, admin=admin, accounts=accounts, stock_codes=stock_codes)
        await self._fulfil(admin=admin)
        return await self._results(invoices, accounts=accounts)

    async def place_orders(
        self,
        invoices: Sequence[Invoice],
        *,
        admin: Account,
        accounts: Mapping[str, Account],
        stock_codes: Collection[str],
    ) -> None:
        """Place the invoices as orders."""
        placement = self.placement(admin=admin, accounts=accounts, stock_codes=stock_codes)
        with self.screen.progress("Placing invoices as orders", total=len(invoices)) as count:
            advance = self._killing(count, after=len(invoices) // 2) if self.options.kill else count
            await placement.place_all(invoices, concurrency=self.options.concurrency, advance=advance)

    def placement(
        self, *, admin: Account, accounts: Mapping[str, Account], stock_codes: Collection[str]
    ) -> OrderPlacement:
        """Return what places this run's orders."""
        return OrderPlacement(
            self.client, admin=admin, accounts=accounts, stock_codes=stock_codes, run=self.tag, log=self.log
        )

    async def _sign_up(self, customers: Mapping[str, str], *, admin: Account) -> dict[str, Account]:
        # Before the first order: hashing passwords keeps the processors busy, which would show in the latencies.
        with self.screen.progress("Signing up customers", total=len(customers)) as advance:
            return await sign_up(
                self.client,
                customers,
                admin=admin,
                run=self.tag,
                low_credit_limit_cents=self.options.low_credit_limit_cents,
                concurrency=self.options.concurrency,
                advance=advance,
            )

    async def _fulfil(self, *, admin: Account) -> None:
        fulfilment = Fulfilment(self.client, admin=admin, run=self.tag, log=self.log)
        with self.screen.step("Waiting until no order is pending", "Waited for pending orders"):
            await fulfilment.wait_until_decided(timeout_seconds=self.options.settle_seconds)
        with self.screen.step("Shipping, delivering and refunding", "Some orders are shipped, delivered, refunded"):
            await fulfilment.fulfil_some(concurrency=self.options.concurrency)

    async def _results(self, invoices: Sequence[Invoice], *, accounts: Mapping[str, Account]) -> Results:
        user_ids = [account.user_id for account in accounts.values()]
        async with connected(self.system.databases) as databases:
            with self.screen.step("Waiting until every event is applied", "Invariants are checked"):
                within = timedelta(seconds=self.options.settle_seconds)
                findings = await check_once_settled(databases, within=within, on_wait=self._note_now_and_then())
            received = await self.system.received_mails(run=self.tag)
            mails = await mails_of(received, databases["notifications"], user_ids=user_ids)
        timelines = await timelines_of(self.client, self.log.orders, concurrency=self.options.concurrency)
        return Results(
            invoices=len(invoices),
            customers=len(accounts),
            log=self.log,
            timelines=timelines,
            mails=mails,
            memory=self.system.memory(),
            retries=self.client.retries,
            restarts=self.system.restarts() - self.restarts_before,
            findings=[
                *findings,
                Finding(
                    "Each confirmed order has one confirmation mail, others none", mail_violations(mails, timelines)
                ),
                Finding("Every request got an expected response", self.log.unexpected),
            ],
        )

    def _note_now_and_then(self) -> Callable[[Sequence[Finding]], None]:
        """Return a function that prints, at most once per interval, what is still violated."""
        next_note_at = monotonic() + NOTE_INTERVAL_SECONDS

        def note(violated: Sequence[Finding]) -> None:
            nonlocal next_note_at
            if monotonic() >= next_note_at:
                next_note_at = monotonic() + NOTE_INTERVAL_SECONDS
                first, *others = violated[0].violations
                more = f" (and {len(others)} more)" if others else ""
                self.screen.note(f"Still waiting: {first}{more}")

        return note

    def _killing(self, advance: Advance, *, after: int) -> Advance:
        """Return an `advance` that also kills the chosen service, once."""
        service, done = str(self.options.kill), 0

        def advance_and_kill() -> None:
            nonlocal done
            done += 1
            advance()
            if done == after:
                pid = self.system.kill(service)
                self.screen.note(f"Killed the {service} service (kill -9, pid {pid}) while orders are being placed")

        return advance_and_kill
