"""One run of the demo, from finding a system to the tables."""

import secrets
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from time import monotonic

from deploy.demo.accounts import Account, customers_of, sign_up, signed_in_admin
from deploy.demo.catalogue import products_of
from deploy.demo.client import Client, open_client
from deploy.demo.data import Invoice, invoices_of, read_lines
from deploy.demo.fulfilment import Fulfilment
from deploy.demo.invariants import Finding, check_once_settled, connected
from deploy.demo.ledger import Ledger
from deploy.demo.outcomes import mail_violations, mails_of, outcomes_of
from deploy.demo.progress import Advance, progress_of
from deploy.demo.report import Results, findings_table, results_table
from deploy.demo.running import RunningSystem, running_system
from deploy.demo.shopping import Shopping
from deploy.local.screen import Screen
from deploy.local.settings import LocalSettings

WORDS_EVERY_SECONDS = 5


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What can be chosen about a run."""

    invoices: int
    concurrency: int
    little_credit_cents: int
    settle_seconds: float
    kill: str | None


async def run_demo(choices: Choices) -> bool:
    """Whether all invariants hold. Raises: LocalError, Unanswered, or a group of them."""
    screen = Screen()
    lines = read_lines()
    stock_codes = {product["sku"] for product in products_of(lines)}
    async with running_system(LocalSettings(), screen=screen) as system:
        async with open_client(system.gateway_url) as client:
            run = _Run(choices, system, screen, client, restarts_before=system.restarts())
            results = await run.carry_out(invoices_of(lines)[: choices.invoices], stock_codes=stock_codes)
        screen.table(results_table(results))
        screen.table(findings_table(results.findings))
    return results.is_whole


@dataclass(frozen=True)
class _Run:
    """The steps of a run, and what they share."""

    choices: Choices
    system: RunningSystem
    screen: Screen
    client: Client
    restarts_before: Counter[str]
    tag: str = field(default_factory=lambda: secrets.token_hex(4))
    """Tells the people and the Idempotency-Keys of two runs apart."""
    ledger: Ledger = field(default_factory=Ledger)

    async def carry_out(self, invoices: Sequence[Invoice], *, stock_codes: Collection[str]) -> Results:
        admin = await signed_in_admin(self.client, password=self.system.admin_password)
        accounts = await self._make_accounts(customers_of(invoices), admin=admin)
        await self._shop(invoices, admin=admin, accounts=accounts, stock_codes=stock_codes)
        await self._fulfil(admin=admin)
        return await self._results(invoices, accounts=accounts)

    async def _make_accounts(self, customers: Mapping[str, str], *, admin: Account) -> dict[str, Account]:
        # First of all: hashing passwords takes whole processors, which would show in the orders' latencies.
        with progress_of(self.screen.console, "Customers sign up and in", total=len(customers)) as advance:
            return await sign_up(
                self.client,
                customers,
                admin=admin,
                run=self.tag,
                little_credit_cents=self.choices.little_credit_cents,
                concurrency=self.choices.concurrency,
                advance=advance,
            )

    async def _shop(
        self,
        invoices: Sequence[Invoice],
        *,
        admin: Account,
        accounts: Mapping[str, Account],
        stock_codes: Collection[str],
    ) -> None:
        shopping = Shopping(
            self.client, admin=admin, accounts=accounts, stock_codes=stock_codes, run=self.tag, ledger=self.ledger
        )
        with progress_of(self.screen.console, "Invoices become orders", total=len(invoices)) as count:
            advance = self._with_accident(count, after=len(invoices) // 2) if self.choices.kill else count
            await shopping.place_all(invoices, concurrency=self.choices.concurrency, advance=advance)

    async def _fulfil(self, *, admin: Account) -> None:
        fulfilment = Fulfilment(self.client, admin=admin, run=self.tag, ledger=self.ledger)
        with self.screen.step("Orders wait for their credit", "Orders are confirmed or rejected"):
            await fulfilment.wait_until_decided(within_seconds=self.choices.settle_seconds)
        with self.screen.step("Some orders are sent off", "Some orders are shipped, delivered, refunded"):
            await fulfilment.send_off_some(concurrency=self.choices.concurrency)

    async def _results(self, invoices: Sequence[Invoice], *, accounts: Mapping[str, Account]) -> Results:
        user_ids = [account.user_id for account in accounts.values()]
        async with connected(self.system.databases) as databases:
            with self.screen.step("Everything comes to rest", "Invariants are checked"):
                within = timedelta(seconds=self.choices.settle_seconds)
                findings = await check_once_settled(databases, within=within, tell=self._tell_what_is_late())
            mails = await mails_of(self.system.mail_url, databases["notifications"], run=self.tag, user_ids=user_ids)
        outcomes = await outcomes_of(self.client, self.ledger.orders, concurrency=self.choices.concurrency)
        return Results(
            invoices=len(invoices),
            customers=len(accounts),
            ledger=self.ledger,
            outcomes=outcomes,
            mails=mails,
            memory=self.system.memory(),
            retries=self.client.retries,
            restarts=self.system.restarts() - self.restarts_before,
            findings=[
                *findings,
                Finding("one mail for each confirmed order, and no other", mail_violations(mails, outcomes)),
                Finding("every request was answered as the data let expect", self.ledger.surprises),
            ],
        )

    def _tell_what_is_late(self) -> Callable[[Sequence[Finding]], None]:
        next_words_at = monotonic() + WORDS_EVERY_SECONDS

        def tell(late: Sequence[Finding]) -> None:
            nonlocal next_words_at
            if monotonic() >= next_words_at:
                next_words_at = monotonic() + WORDS_EVERY_SECONDS
                self.screen.note(f"Not yet at rest: {late[0].violations[0]} ({len(late[0].violations)} such)")

        return tell

    def _with_accident(self, advance: Advance, *, after: int) -> Advance:
        """Like `advance`, and kills the chosen service once."""
        service, done = str(self.choices.kill), 0

        def advance_or_kill() -> None:
            nonlocal done
            done += 1
            advance()
            if done == after:
                pid = self.system.kill(service)
                self.screen.note(f"kill -9 {service} (pid {pid}), in the middle of it all")

        return advance_or_kill
