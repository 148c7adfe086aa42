"""Attempts of deliveries: made once, or held until a test lets them end; and queries about deliveries."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from services.notifications.channels import Attempt, Receipt
from services.notifications.deliveries import Claim, claim
from services.notifications.delivery_worker import DeliveryWorker
from services.notifications.models import Delivery
from services.notifications.retries import RetryPolicy
from shared.database import Sessions
from shared.ids import new_id
from tests.harness.waiting import until
from tests.notifications.events import apply, user_created

WorkerOf = Callable[..., DeliveryWorker]
"""`worker_of(send, retry_policy=QUICK_RETRIES)`: returns a worker that sends mails with `send`. It does not run yet."""


async def delivery_of(sessions: Sessions) -> Delivery:
    async with sessions() as session:
        return (await session.scalars(sa.select(Delivery).where(Delivery.channel == "email"))).one()


async def state_of(sessions: Sessions) -> tuple[str, int, str | None]:
    delivery = await delivery_of(sessions)
    return delivery.status, delivery.attempts, delivery.last_error


async def seconds_until_due(sessions: Sessions) -> float | None:
    """Return the time until the next attempt; it is shorter on a slow machine, and negative once it has passed."""
    async with sessions() as session:
        due_in = sa.type_coerce(Delivery.next_attempt_at - sa.func.clock_timestamp(), sa.Interval)
        delay = await session.scalar(sa.select(due_in).where(Delivery.channel == "email"))
    return None if delay is None else delay.total_seconds()


async def mail_events(sessions: Sessions) -> list[tuple[str, Any]]:
    """Return types and data of the events recorded about mails, not about in-app notifications."""
    query = sa.text("SELECT type, convert_from(payload, 'UTF8')::jsonb FROM outbox ORDER BY id")
    async with sessions() as session:
        rows = await session.execute(query)
        return [(type_, data) for type_, data in rows if data["channel"] == "email"]


async def make_due(sessions: Sessions, *, first_due_before: timedelta = timedelta(seconds=1)) -> None:
    """Let every open delivery be due, as if its first attempt had been due a while ago."""
    async with sessions.begin() as session:
        await session.execute(
            sa.update(Delivery)
            .where(Delivery.next_attempt_at.is_not(None))
            .values(next_attempt_at=sa.func.now() - timedelta(seconds=1), first_due_at=sa.func.now() - first_due_before)
        )


async def claim_one(session: AsyncSession) -> Claim:
    """Begin an attempt of one delivery that is due, for the first time or again."""
    return await claim(session, channels=["email"], limit=1, max_retries=1, retry_policy=RetryPolicy())


async def attempt_once(worker: DeliveryWorker) -> None:
    """Make one attempt of the deliveries that are due, and record its outcome."""
    worker._may_be_due = True
    await worker._record_and_claim()
    await asyncio.gather(*worker._sending)
    worker._may_be_due = False
    await worker._record_and_claim()


class HeldSends:
    """Attempts that end once the test sets `may_end`."""

    def __init__(self) -> None:
        self.begun: list[Attempt] = []
        self.may_end = asyncio.Event()

    async def send(self, attempt: Attempt) -> Receipt:
        self.begun.append(attempt)
        await self.may_end.wait()
        return Receipt(provider="held", provider_message_id=str(attempt.number))

    async def until_begun(self, count: int) -> None:
        async def have_begun() -> bool:
            return len(self.begun) >= count

        await until(have_begun, what=f"{count} attempts have begun")


async def mail_statuses(sessions: Sessions) -> list[str]:
    async with sessions() as session:
        return list(await session.scalars(sa.select(Delivery.status).where(Delivery.channel == "email")))


async def users(sessions: Sessions, count: int) -> None:
    await apply(sessions, *(user_created(new_id(), email=f"user-{number}@example.org") for number in range(count)))
