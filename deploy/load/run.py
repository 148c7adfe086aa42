"""Runs a load: prepares the target, starts the process that sends the requests, and collects each second."""

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import cast

from deploy.load.journeys import journeys_of_invoices
from deploy.load.plan import Login, Plan
from deploy.load.pool import Pool
from deploy.load.prometheus import MessagingGauges
from deploy.load.second import Second
from deploy.load.stock import change_stock, products_for_sale, refill_in_database, short_products
from deploy.load.target import LoadTarget
from deploy.local.process import LocalError, describe_exit, signal_when_orphaned
from deploy.local.screen import Screen
from deploy.local.state import CHECKOUT

MAX_LINE_BYTES = 64 * 1024 * 1024
"""Upper bound of the line of one second: each request takes about 8 bytes of it."""
JOURNEYS_PER_USER_SECOND = 1.0
"""Upper bound of the journeys that one user of a closed loop makes per second, for the stock."""

OnSecond = Callable[[Second], None]


class GeneratorFailed(LocalError):
    """The process that sends the requests has ended with an error."""


@dataclass
class LoadRun:
    """A run, and what it has measured so far."""

    plan: Plan
    target: LoadTarget
    seconds: list[Second] = field(default_factory=list)
    is_stopped: bool = False
    """Whether a signal ended it early."""
    unreachable: set[str] = field(default_factory=set)
    """The processes whose /metrics never answered."""


async def prepare(plan: Plan, target: LoadTarget, *, accounts: int, screen: Screen) -> Plan:
    """Complete the plan: sign customers in, choose the baskets, and refill the stock.

    Nothing of it runs while the load does: it would compete for the processors. Raises: RequestFailed, LocalError.
    """
    async with target.open_client() as client:
        admin = await target.signed_in_admin(client)
        products = await products_for_sale(client)
        journeys = journeys_of_invoices(products.keys(), seed=plan.seed)
        if admin is not None:
            number = round(plan.seconds * (plan.rate or (plan.users or 1) * JOURNEYS_PER_USER_SECOND))
            short = short_products(products, journeys=journeys, number=number)
            if short and target.orders_database_url is not None:
                await refill_in_database(target.orders_database_url, skus=short, screen=screen)
            elif short:
                await change_stock(client, admin, skus=short, screen=screen)
        pool = Pool(client=client, file=target.accounts_file, admin=admin, screen=screen)
        logins = [
            Login(each.email, each.password, each.token, each.refresh_token) for each in await pool.accounts(accounts)
        ]
    return replace(plan, logins=logins, journeys=journeys, key_prefix=f"load-{secrets.token_hex(6)}")


async def carry_out(run: LoadRun, *, on_second: OnSecond) -> None:
    """Send the load until its time is over or SIGTERM or SIGINT comes. Raises: GeneratorFailed."""
    gauges = MessagingGauges(run.target.metrics_urls)
    async with _generator(run.plan) as generator, asyncio.TaskGroup() as group:
        reading = group.create_task(gauges.keep_reading()) if run.target.metrics_urls else None
        with _ended_by_signals(generator, run):
            async for line in cast("asyncio.StreamReader", generator.stdout):
                second = Second.loads(line)
                second.outbox_age_seconds, second.consumer_lag = gauges.outbox_age_seconds, gauges.consumer_lag
                run.seconds.append(second)
                on_second(second)
            status = await generator.wait()
        if reading is not None:
            reading.cancel()
    run.unreachable = gauges.unreachable
    # A signal that comes before its handler is there ends the process, too.
    if status and not run.is_stopped:
        raise GeneratorFailed(f"The process that sends the requests {describe_exit(status)}.")


@asynccontextmanager
async def _generator(plan: Plan) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start the process, give it the plan, and kill it at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "deploy.load.generator",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        limit=MAX_LINE_BYTES,
        # Ctrl-C reaches this process only, which then asks for the end.
        start_new_session=True,
        preexec_fn=signal_when_orphaned(signal.SIGKILL, parent=os.getpid()),
    )
    try:
        plan_input = cast("asyncio.StreamWriter", process.stdin)
        plan_input.write(plan.dumps().encode())
        plan_input.close()
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@contextmanager
def _ended_by_signals(process: asyncio.subprocess.Process, run: LoadRun) -> Iterator[None]:
    """Let SIGTERM and SIGINT end the load in order; a second one ends it at once."""
    loop = asyncio.get_running_loop()

    def end() -> None:
        with suppress(ProcessLookupError):
            process.kill() if run.is_stopped else process.terminate()
        run.is_stopped = True

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
