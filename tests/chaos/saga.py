"""One seed of the saga: the whole system with its three services, real invoices through the gateway, under faults."""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
from rich.console import Console

from deploy.demo.accounts import Account
from deploy.demo.catalogue import products_of
from deploy.demo.client import Answer, Client, open_client
from deploy.demo.invoices import Invoice, invoices_of, read_lines
from deploy.demo.report import Results
from deploy.demo.run import DemoRun, Options
from deploy.demo.system import RunningSystem
from deploy.local.credentials import SERVICES, ensure_credentials
from deploy.local.ports import free_port
from deploy.local.screen import Screen
from deploy.local.services import Services
from deploy.local.settings import LocalSettings
from deploy.local.state import read_state, single_instance
from deploy.local.system import System
from tests.chaos.campaign import Outcome, when_servers_are_back
from tests.chaos.ground import Ground
from tests.chaos.injector import Fault, Injector
from tests.harness.cutting_proxy import CuttingProxy

INVOICES_PER_SECOND = 3
CONCURRENCY = 8
NO_WORD = {"internal_error": "status_500", "status_404": "gateway_404"}
"""Codes that say nothing of the request: a fault of ours, and a gateway that has started without its routes yet."""
FAULTED_TRIES = 20
FAULTED_PAUSE_SECONDS = 0.5
SETTLE_SECONDS = 120.0
"""A mail that was on its way when its process died is tried again after half a minute, and with it what follows."""
END_OF_MAIL = b"\r\n.\r\n"


@dataclass(frozen=True, kw_only=True)
class ProxiedServices(Services):
    """Their way to PostgreSQL and to the mail server leads through proxies that can cut."""

    database_proxy: CuttingProxy
    mail_proxy: CuttingProxy

    def environment(self, service: str) -> dict[str, str]:
        """As it is, but for two ports."""
        changed = super().environment(service)
        for name, there, here in (
            (f"{service.upper()}_DATABASE_URL", self.settings.postgres_port, self.database_proxy.port),
            ("NOTIFICATIONS_SMTP_URL", self.settings.smtp_port, self.mail_proxy.port),
        ):
            if name in changed:
                changed[name] = changed[name].replace(f":{there}", f":{here}")
        return changed


class PacedClient(Client):
    """Spreads the orders over the campaign, and asks again after an answer that tells nothing of the request."""

    async def send(self, method: str, path: str, **request: Any) -> Answer:
        """The same request again, with the same Idempotency-Key."""
        if (method, path) == ("POST", "/v1/orders"):
            await asyncio.sleep(CONCURRENCY / INVOICES_PER_SECOND)
        for _ in range(FAULTED_TRIES):
            answer = await super().send(method, path, **request)
            if answer.code not in NO_WORD:
                break
            self.retries[NO_WORD[answer.code]] += 1
            await asyncio.sleep(FAULTED_PAUSE_SECONDS)
        return answer


@dataclass
class Whole:
    """The running system, and how to hurt it."""

    ground: Ground
    system: System
    running: RunningSystem
    database_proxy: CuttingProxy
    mail_proxy: CuttingProxy
    screen: Screen

    def pid_of(self, name: str) -> int:
        """Of a process at present."""
        return self.system.supervisor.children[name].process.pid

    def signal(self, name: str, number: signal.Signals) -> None:
        """One that is just being restarted is spared."""
        with suppress(ProcessLookupError):
            os.kill(self.pid_of(name), number)

    async def when_ready(self) -> None:
        """What a fault took away is given back before quiet is counted."""
        async with asyncio.timeout(SETTLE_SECONDS):
            for child in self.system.supervisor.children.values():
                while not await child.program.ready():  # noqa: ASYNC110 - processes tell nobody
                    await asyncio.sleep(0.2)
        await when_servers_are_back(self.ground)

    async def count(self, query: str) -> int:
        """Summed over the three databases."""
        total = 0
        for url in self.running.databases.values():
            connection = await asyncpg.connect(url.replace("+asyncpg", "", 1))
            total += await connection.fetchval(query) or 0
            await connection.close()
        return total


@dataclass(frozen=True)
class _Hurt(DemoRun):
    """A demo that is hurt while its orders are placed."""

    injector: Injector[Whole] = field(kw_only=True)

    async def place_orders(
        self,
        invoices: Sequence[Invoice],
        *,
        admin: Account,
        accounts: Mapping[str, Account],
        stock_codes: Collection[str],
    ) -> None:
        self.injector.begin()
        await super().place_orders(invoices, admin=admin, accounts=accounts, stock_codes=stock_codes)
        await self.injector.end()
        self.injector.target.database_proxy.disarm()
        self.injector.target.mail_proxy.disarm()
        await self.injector.target.when_ready()


@asynccontextmanager
async def whole_system(ground: Ground) -> AsyncIterator[Whole]:
    """All of `make run` on free ports and in a folder of its own, on the campaign's Kafka."""
    folder = ground.folder / "system"
    ports = {name: free_port() for name in LocalSettings.model_fields if name.endswith("_port")}
    settings = LocalSettings.model_validate({"folder": folder, "KAFKA_BOOTSTRAP_SERVERS": ground.kafka, **ports})
    database_proxy = CuttingProxy(target_port=settings.postgres_port)
    mail_proxy = CuttingProxy(target_port=settings.smtp_port, word=END_OF_MAIL)
    async with AsyncExitStack() as stack:
        stack.enter_context(single_instance(folder))
        # What the system and the demo have to say on the way goes to a file.
        screen = Screen(Console(file=stack.enter_context((folder / "screen.log").open("w")), highlight=False))
        credentials = ensure_credentials(folder / "secrets")
        for proxy in (database_proxy, mail_proxy):
            await proxy.open()
            stack.push_async_callback(proxy.close)
        system = System(settings, credentials=credentials, screen=screen)
        system._services = ProxiedServices(
            settings=settings,
            credentials=credentials,
            kafka_bootstrap_servers=ground.kafka,
            database_proxy=database_proxy,
            mail_proxy=mail_proxy,
        )
        stack.push_async_callback(system.stop)
        await system.start()
        running = RunningSystem.from_state(folder, read_state(folder) or {})
        # Who looks must not be cut.
        yield Whole(ground, system, _uncut(running, database_proxy, settings), database_proxy, mail_proxy, screen)


async def run_saga(
    whole: Whole,
    *,
    workload: str,
    seed: int,
    seconds: float,
    faults: Mapping[str, Fault[Whole]],
    every_seconds: float,
) -> Outcome:
    """Place invoices under faults, let everything come to rest, and check every invariant of the demo."""
    injector = Injector(
        whole,
        faults,
        random.Random(seed),  # noqa: S311 - chance by seed
        every_seconds,
    )
    events, applied = await whole.count(_EVENTS), await whole.count(_APPLIED)
    cuts, moves = (whole.database_proxy.cuts, whole.mail_proxy.cuts), whole.ground.leaders_moved
    results = await _hurt_demo(whole, injector, invoices_wanted=int(seconds * INVOICES_PER_SECOND))
    outcome = Outcome(
        seed=seed,
        workload=workload,
        findings=results.findings,
        faults=injector.counts,
        events=await whole.count(_EVENTS) - events,
        applied=await whole.count(_APPLIED) - applied,
        duplicates=results.mails.repeats,
    )
    outcome.faults["(commits cut)"] = whole.database_proxy.cuts - cuts[0]
    for answer in NO_WORD.values():
        outcome.faults[f"(answered {answer})"] = results.retries[answer]
    outcome.faults["(leaders moved)"] = whole.ground.leaders_moved - moves
    outcome.faults["(mails cut)"] = whole.mail_proxy.cuts - cuts[1]
    outcome.faults["(services restarted)"] = sum(results.restarts[service] for service in SERVICES)
    return outcome


async def _hurt_demo(whole: Whole, injector: Injector[Whole], *, invoices_wanted: int) -> Results:
    """On a stretch of the data that the seed chooses."""
    options = Options(
        invoices=invoices_wanted,
        concurrency=CONCURRENCY,
        low_credit_limit_cents=20_000,
        settle_seconds=SETTLE_SECONDS,
        kill=None,
    )
    lines = read_lines()
    invoices = invoices_of(lines)
    first = injector.rng.randrange(max(1, len(invoices) - invoices_wanted))
    restarts_before = whole.running.restarts()
    async with open_client(whole.running.gateway_url) as impatient:
        client = PacedClient(impatient._http)
        run = _Hurt(options, whole.running, whole.screen, client, restarts_before, injector=injector)
        return await run.carry_out(
            invoices[first : first + invoices_wanted],
            stock_codes={product["sku"] for product in products_of(lines)},
        )


_EVENTS = "SELECT sum(sequence)::bigint FROM event_stream"
_APPLIED = "SELECT count(*) FROM inbox"


def _uncut(running: RunningSystem, proxy: CuttingProxy, settings: LocalSettings) -> RunningSystem:
    databases = {
        service: url.replace(f":{proxy.port}/", f":{settings.postgres_port}/")
        for service, url in running.databases.items()
    }
    return RunningSystem(
        folder=Path(running.folder),
        gateway_url=running.gateway_url,
        mail_url=running.mail_url,
        databases=databases,
        admin_password=running.admin_password,
    )
