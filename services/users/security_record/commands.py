"""Appending to the security record."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import sqlalchemy as sa
from fastapi import Request
from pydantic import JsonValue
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.models.security_record import SecurityEvent, SecurityEventKind
from shared.http.rate_limit import client_address
from shared.statements import delete_older

SYSTEM = "system"
"""The actor of what no person did, such as a timed purge."""
ANONYMOUS = "anonymous"
"""The actor of a request without a valid token, such as a failed sign-in."""
MAX_USER_AGENT_LENGTH = 300
"""Characters that are stored of a User-Agent header; the rest is cut off."""


FAILED_SIGN_INS_KEPT_FOR = timedelta(days=30)
"""Retention of failed sign-ins, which anyone can cause. The trigger of the table has it too. All else is kept."""


@dataclass(frozen=True)
class Origin:
    """The origin of a request. Both fields are personal data: stored for the owner of the account, never logged."""

    address: str
    user_agent: str | None


def origin_of(request: Request) -> Origin:
    """Return the client's address, as a trusted proxy forwarded it, and its User-Agent."""
    user_agent = request.headers.get("user-agent")
    return Origin(client_address(request), user_agent[:MAX_USER_AGENT_LENGTH] if user_agent else None)


async def append(
    session: AsyncSession,
    kind: SecurityEventKind,
    *,
    user_id: UUID | None,
    actor: UUID | str,
    origin: Origin | None = None,
    details: Mapping[str, JsonValue] | None = None,
) -> None:
    """Append an entry, in the transaction of what it records. `details` must hold no personal data."""
    await session.execute(
        sa.insert(SecurityEvent).values(
            user_id=user_id,
            kind=kind,
            actor=str(actor),
            address=origin and origin.address,
            user_agent=origin and origin.user_agent,
            details=dict(details or {}),
        )
    )


async def purge_failed_sign_ins(session: AsyncSession, *, limit: int) -> int:
    """Delete at most `limit` failed sign-ins past their retention, and return how many."""
    return await delete_older(
        session,
        SecurityEvent.id,
        SecurityEvent.kind == "sign_in_failed",
        time=SecurityEvent.occurred_at,
        than=sa.func.now() - FAILED_SIGN_INS_KEPT_FOR,
        limit=limit,
    )
