"""The users service as its tests use it: HTTP in front, events from the side, the outbox behind."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx2
import orjson
import sqlalchemy as sa
from fastapi import FastAPI

from services.users.commands import Profile, create_account
from services.users.models import CreditAccount, CreditReservation, UserAccount
from services.users.subscribers import orders
from shared.database import Sessions
from shared.events.contract import Event
from shared.messaging.consumer.batch import apply_batch
from shared.messaging.consumer.progress import BatchResult
from tests.harness.builders import received

PASSWORD = "correct horse battery"
ADA = {"email": "Ada@orderly.example", "name": "Ada Lovelace", "password": PASSWORD}


@dataclass
class FrontDoor:
    app: FastAPI
    client: httpx2.AsyncClient

    @property
    def sessions(self) -> Sessions:
        sessions: Sessions = self.app.state.sessions
        return sessions

    async def sign_up(self, **changes: Any) -> dict[str, Any]:
        answer = await self.client.post("/v1/users", json=ADA | changes)
        assert answer.status_code == 201, answer.text
        body: dict[str, Any] = answer.json()
        return body

    async def sign_in(self, *, email: str = ADA["email"], password: str = PASSWORD) -> dict[str, Any]:
        answer = await self.client.post("/v1/sessions", json={"email": email, "password": password})
        assert answer.status_code == 201, answer.text
        body: dict[str, Any] = answer.json()
        return body

    async def signed_in(self, *, email: str = ADA["email"]) -> dict[str, str]:
        """Sign up and in; the header that authenticates."""
        await self.sign_up(email=email)
        return bearer(await self.sign_in(email=email))

    async def account(
        self, *, email: str = "grace@orderly.example", limit_cents: int = 100_000, roles: Any = ("customer",)
    ) -> UserAccount:
        """A user who needs no password."""
        async with self.sessions.begin() as session:
            return await create_account(
                session,
                profile=Profile(email, "Grace Hopper", None, "en", "UTC"),
                password_hash="none",
                credit_limit_cents=limit_cents,
                credit_currency="GBP",
                roles=roles,
            )

    async def header_of(self, *roles: Any, email: str = "staff@orderly.example") -> dict[str, str]:
        """The header of a new user with these roles."""
        account = await self.account(email=email, roles=roles)
        token = self.app.state.access_tokens.issue(account, session_id=account.id)
        return {"Authorization": f"Bearer {token}"}

    async def apply(self, event: Event, *, sequence: int = 1, event_id: UUID | None = None) -> BatchResult:
        """Hand over one event as the consumer does."""
        async with self.sessions.begin() as session:
            return await apply_batch(
                session,
                consumer="users.orders",
                subscription=orders,
                events=[received(event, sequence=sequence, event_id=event_id)],
            )

    async def events(self, *, but: str = "user.created") -> list[tuple[str, dict[str, Any]]]:
        """Types and data of the events that wait to be sent, in their order."""
        async with self.sessions() as session:
            rows = await session.execute(
                sa.text("SELECT type, payload FROM outbox WHERE type <> :but ORDER BY id"), {"but": but}
            )
            return [(row.type, orjson.loads(row.payload)) for row in rows]

    async def credit(self, user_id: UUID) -> tuple[int, int]:
        """Reserved and used, after a check that the reservations add up to them."""
        async with self.sessions() as session:
            account = await session.get_one(CreditAccount, user_id)
            reservations = list(
                await session.scalars(sa.select(CreditReservation).where(CreditReservation.user_id == user_id))
            )
        assert account.reserved_cents == sum(r.amount_cents for r in reservations if r.status == "reserved")
        assert account.used_cents == sum(r.amount_cents - r.refunded_cents for r in reservations if r.status == "used")
        assert account.taken_cents <= account.limit_cents
        return account.reserved_cents, account.used_cents


def bearer(tokens: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens['access_token']}"}


def problem(answer: httpx2.Response) -> tuple[int, str]:
    """Status and code of an error answer, after a check that it is a problem."""
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]
