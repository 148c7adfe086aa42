"""The users service under test: HTTP requests and events go in, rows and recorded events are read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx2
import orjson
import sqlalchemy as sa
from fastapi import FastAPI
from pydantic import ConfigDict
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.accounts.commands import Profile, create_account
from services.users.models.accounts import UserAccount
from services.users.models.credit import CreditAccount, CreditEntry, CreditReservation
from services.users.models.security_record import SecurityEvent
from services.users.security_record.commands import Origin
from services.users.sessions.commands import start_session
from services.users.settings import Settings
from services.users.subscribers import CreditEvent, change_credit, orders
from shared.database import Sessions
from shared.events.contract import Event
from shared.messaging.consumer.batch import apply_batch
from shared.messaging.consumer.progress import BatchResult
from shared.messaging.envelope import Received
from shared.personal_data import PersonalData, unseal
from tests.harness.builders import received
from tests.users.ledger import ledger_of
from tests.users.orders import Order

PASSWORD = "correct horse battery"
SIGN_UP = ("user.created", "user.email_verification_requested")
"""The events of a sign-up."""
ADA = {"email": "Ada@orderly.example", "name": "Ada Lovelace", "password": PASSWORD}


def environment_of(settings: Settings) -> dict[str, str]:
    """Return the environment of a process with these settings."""
    return {
        "USERS_DATABASE_URL": settings.database_url,
        "USERS_VALKEY_URL": settings.valkey_url,
        "USERS_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "USERS_ENCRYPTION_KEYS_FILE": str(settings.encryption_keys_file),
        "USERS_SERVICE_TOKENS": "orders=a token of no use",
        "USERS_WEBAUTHN_RP_ID": settings.webauthn_rp_id,
        "USERS_WEBAUTHN_ORIGINS": ",".join(settings.webauthn_origins),
    }


@dataclass
class UsersService:
    """The application and the helpers that most tests need."""

    app: FastAPI
    http: httpx2.AsyncClient

    @property
    def sessions(self) -> Sessions:
        sessions: Sessions = self.app.state.sessions
        return sessions

    async def sign_up(self, **changes: Any) -> dict[str, Any]:
        response = await self.http.post("/v1/users", json=ADA | changes)
        assert response.status_code == 201, response.text
        body: dict[str, Any] = response.json()
        return body

    async def sign_in(self, *, email: str = ADA["email"], password: str = PASSWORD) -> dict[str, Any]:
        response = await self.http.post("/v1/sessions", json={"email": email, "password": password})
        assert response.status_code == 201, response.text
        body: dict[str, Any] = response.json()
        return body

    async def refresh(self, tokens: dict[str, Any]) -> httpx2.Response:
        return await self.http.post("/v1/sessions/refresh", json={"refresh_token": tokens["refresh_token"]})

    async def shift(self, column: Any, *, by: timedelta) -> None:
        """Set a time of every row back."""
        async with self.sessions.begin() as session:
            await session.execute(sa.update(column.class_).values({column: column - by}))

    async def sign_up_and_in(self, *, email: str = ADA["email"]) -> dict[str, str]:
        """Sign up and in, and return the header that authenticates."""
        await self.sign_up(email=email)
        return bearer(await self.sign_in(email=email))

    async def create_account(
        self, *, email: str = "grace@orderly.example", limit_cents: int = 100_000, roles: Any = ("customer",)
    ) -> UserAccount:
        """Create a user without a usable password."""
        async with self.sessions.begin() as session:
            return await create_account(
                session,
                profile=Profile(email, "Grace Hopper", None, "en", "UTC"),
                password_hash="none",
                credit_limit_cents=limit_cents,
                credit_currency="GBP",
                roles=roles,
            )

    async def header_with(self, *roles: Any, email: str = "staff@orderly.example") -> dict[str, str]:
        """Create a user with these roles, and return the header that authenticates."""
        account = await self.create_account(email=email, roles=roles)
        async with self.sessions.begin() as session:
            grant = await start_session(
                session,
                account=account,
                origin=Origin("192.0.2.1", None),
                methods=["pwd"],
                limits=self.app.state.settings.session_limits,
            )
        token, _ = await self.app.state.access_tokens.issue(account, session_id=grant.session_id)
        return {"Authorization": f"Bearer {token}"}

    async def apply(self, event: Event, *, sequence: int = 1, event_id: UUID | None = None) -> BatchResult:
        """Apply one event as the consumer does."""
        return await self.apply_batch([received(event, sequence=sequence, event_id=event_id)])

    async def apply_all(self, *events: Event) -> None:
        """Apply the events of one order one by one."""
        for sequence, event in enumerate(events, start=1):
            await self.apply(event, sequence=sequence)

    async def apply_batch(self, events: Sequence[Received]) -> BatchResult:
        """Apply events in one transaction, as the consumer does."""
        async with self.sessions.begin() as session:
            return await apply_batch(session, consumer="users.orders", subscription=orders, events=events)

    async def change_credit(self, *events: CreditEvent) -> None:
        """Apply events in one transaction, without the inbox."""
        async with self.sessions.begin() as session:
            await apply_events(session, *events)

    async def events(self, *, without: Sequence[str] = SIGN_UP) -> list[tuple[str, dict[str, Any]]]:
        """Return types and data of the recorded events, in order; personal data are opened."""
        async with self.sessions() as session:
            rows = await session.execute(
                sa.text("SELECT type, payload FROM outbox WHERE type <> ALL(:without) ORDER BY id"),
                {"without": list(without)},
            )
            events = [(row.type, orjson.loads(row.payload)) for row in rows]
            accounts = await session.execute(sa.select(UserAccount.id, UserAccount.personal_key))
            keys = {user_id: key for user_id, key in accounts}  # noqa: C416 - rows are tuples for mypy only here
        return [(type_, _opened(data, keys)) for type_, data in events]

    async def recorded(self, kind: str) -> list[dict[str, Any]]:
        """Return the details of the entries of a kind in the security record, in order."""
        async with self.sessions() as session:
            query = sa.select(SecurityEvent.details).where(SecurityEvent.kind == kind).order_by(SecurityEvent.id)
            return list(await session.scalars(query))

    async def credit(self, user_id: UUID) -> tuple[int, int]:
        """Return reserved and used credit, after checking that they are the sums of reservations and of the ledger."""
        async with self.sessions() as session:
            account = await session.get_one(CreditAccount, user_id)
            await ledger_of(session, user_id)
            reservations = list(
                await session.scalars(sa.select(CreditReservation).where(CreditReservation.user_id == user_id))
            )
        assert account.reserved_cents == sum(r.amount_cents for r in reservations if r.status == "reserved")
        assert account.used_cents == sum(r.amount_cents - r.refunded_cents for r in reservations if r.status == "used")
        assert account.taken_cents <= account.limit_cents
        return account.reserved_cents, account.used_cents

    async def ledger(self, user_id: UUID) -> list[CreditEntry]:
        """Return the entries of a user's ledger, oldest first, after checking that they add up to the account."""
        async with self.sessions() as session:
            return await ledger_of(session, user_id)

    async def reservation(self, order: Order) -> tuple[str, int]:
        """Return the status and the amount of an order's reservation."""
        async with self.sessions() as session:
            reservation = await session.get_one(CreditReservation, order.id)
        return reservation.status, reservation.amount_cents


async def apply_events(session: AsyncSession, *events: CreditEvent) -> None:
    """Pass events to the handler, each in a trace of its own."""
    contexts = (received(event, sequence=1).context for event in events)
    await change_credit(session, [(event, context) for event, context in zip(events, contexts, strict=True) if context])


class _Opened(PersonalData):
    model_config = ConfigDict(extra="allow")


def _opened(data: dict[str, Any], keys: Mapping[UUID, bytes | None]) -> dict[str, Any]:
    """Return an event's data with the fields of its personal data in place of the sealed ones."""
    key = keys.get(UUID(data["user_id"]))
    if "personal" not in data or key is None:
        return data
    return data | unseal(data.pop("personal"), key=key, model=_Opened).model_dump()


def bearer(tokens: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens['access_token']}"}
