"""Commands of erasures: request one, note acknowledgements, ask again, and finish."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import get_args
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.administration.commands import Act, LastAdmin, lock_as_admin
from services.users.administration.queries import is_last_active_admin
from services.users.encryption import Encryption
from services.users.erasure.personal_data import erase_personal_data
from services.users.erasure.queries import ErasureNotFound, Receipt, receipt_of, receipt_of_user
from services.users.models.accounts import UserAccount
from services.users.models.erasure import Erasure, ErasureAcknowledgement
from services.users.models.one_time_tokens import TokenPurpose
from services.users.one_time_tokens.commands import invalidate_tokens
from services.users.security_record.commands import SYSTEM, append
from services.users.sessions.commands import AccountInactive
from services.users.sessions.revocation import revoke_all_sessions
from shared.events.users import UserErased, UserErasureRequested
from shared.jobs import enqueue
from shared.messaging.outbox.outbox import record

FINISH_JOB = "finish_erasure"
INITIAL_DELAY = timedelta(minutes=10)
"""Time after which the services are asked again; doubles each time."""
MAX_DELAY = timedelta(hours=6)

# The row is locked, so that two processes do not ask twice.
_DUE = sa.text("""
    SELECT id FROM erasure
    WHERE completed_at IS NULL AND last_asked_at < clock_timestamp() - least(
        CAST(:initial_delay AS interval) * 2 ^ least(asked - 1, 10), CAST(:max_delay AS interval)
    )
    ORDER BY requested_at, id LIMIT :limit FOR UPDATE SKIP LOCKED
""").columns(id=sa.Uuid)


@dataclass(frozen=True)
class Request:
    """The id of a request, and the time at which it was made."""

    id: UUID
    requested_at: datetime

    @classmethod
    def new(cls) -> "Request":
        """Return a request that is made now."""
        return cls(uuid4(), datetime.now(UTC))


async def request_own_erasure(session: AsyncSession, *, user_id: UUID, act: Act) -> tuple[Receipt, bool]:
    """Request the erasure of the caller's own account; return the receipt, and whether it is new. Repeatable.

    Raises: UserNotFound, AccountInactive for a suspended account: an admin can request it; LastAdmin.
    """
    account = await lock_as_admin(session, user_id, act=act)
    if account.status == "suspended":
        raise AccountInactive
    return await _request(session, account, act=act, reason=None, request=Request.new())


async def request_erasure(
    session: AsyncSession, *, user_id: UUID, reason: str | None, act: Act, request: Request | None = None
) -> tuple[Receipt, bool]:
    """Request the erasure of a user's account; return the receipt, and whether it is new. Repeatable.

    `request`: an earlier one, which was lost with a restored database. Raises: UserNotFound, LastAdmin.
    """
    account = await lock_as_admin(session, user_id, act=act)
    return await _request(session, account, act=act, reason=reason, request=request or Request.new())


async def acknowledge(session: AsyncSession, *, erasure_id: UUID, user_id: UUID, service: str) -> None:
    """Note that a service has erased a user's data, and finish after the last one. Repeatable.

    Of an unknown or completed erasure nothing changes: it was lost with a restored database, or is repeated there.
    """
    erasure = await session.get(Erasure, erasure_id, with_for_update=True, populate_existing=True)
    if erasure is None or erasure.user_id != user_id or erasure.completed_at is not None:
        return
    await session.execute(
        insert(ErasureAcknowledgement).values(erasure_id=erasure_id, service=service).on_conflict_do_nothing()
    )
    if not (await receipt_of(session, erasure_id)).waits_for:
        await enqueue(session, FINISH_JOB, str(erasure_id).encode())


async def ask_again_if_due(session: AsyncSession, *, limit: int) -> list[UUID]:
    """Drive on at most `limit` erasures that have waited for their delay; return their ids.

    Repeat it, in a transaction each, until there are none.
    """
    delays = {"initial_delay": INITIAL_DELAY, "max_delay": MAX_DELAY, "limit": limit}
    erasure_ids = list(await session.scalars(_DUE, delays))
    for erasure_id in erasure_ids:
        await _ask_again(session, await receipt_of(session, erasure_id))
    return erasure_ids


async def retry(session: AsyncSession, *, erasure_id: UUID) -> Receipt:
    """Ask all services again now, also after the completion: one of them may have been restored since. Repeatable.

    Raises: ErasureNotFound.
    """
    erasure = await session.get(Erasure, erasure_id, with_for_update=True, populate_existing=True)
    if erasure is None:
        raise ErasureNotFound
    receipt = await receipt_of(session, erasure_id)
    await _ask_again(session, receipt)
    return receipt


async def finish(session: AsyncSession, *, erasure_id: UUID, encryption: Encryption) -> UUID | None:
    """Erase the account once every service has acknowledged; return the user's id. Repeatable: then None."""
    erasure = await session.get(Erasure, erasure_id, with_for_update=True, populate_existing=True)
    if erasure is None or erasure.completed_at is not None or (await receipt_of(session, erasure_id)).waits_for:
        return None
    account = await session.get(UserAccount, erasure.user_id, with_for_update=True, populate_existing=True)
    if account is not None:
        await erase_personal_data(session, account, encryption=encryption)
    erasure.completed_at = datetime.now(UTC)
    record(session, UserErased(user_id=erasure.user_id, request_id=erasure.id))
    await append(session, "erased", user_id=erasure.user_id, actor=SYSTEM, details={"erasure_id": str(erasure.id)})
    return erasure.user_id


async def _request(
    session: AsyncSession, account: UserAccount, *, act: Act, reason: str | None, request: Request
) -> tuple[Receipt, bool]:
    """Request the erasure of a locked account, unless somebody has already."""
    known = await receipt_of_user(session, account.id)
    if known is not None:
        return known, False
    if await is_last_active_admin(session, account):
        raise LastAdmin
    account.status = "erasing"
    account.updated_at = datetime.now(UTC)
    session.add(
        Erasure(
            id=request.id, user_id=account.id, requested_at=request.requested_at, requested_by=str(act.actor), asked=1
        )
    )
    await session.flush()  # the receipt reads the row
    record(session, UserErasureRequested(user_id=account.id, request_id=request.id))
    details = {"erasure_id": str(request.id)} | ({"reason": reason} if reason else {})
    await append(session, "erasure_requested", user_id=account.id, actor=act.actor, origin=act.origin, details=details)
    await revoke_all_sessions(session, user_id=account.id, actor=act.actor, origin=act.origin)
    await invalidate_tokens(session, user_id=account.id, purposes=get_args(TokenPurpose))
    return await receipt_of(session, request.id), True


async def _ask_again(session: AsyncSession, receipt: Receipt) -> None:
    """Ask the services again, or finish what only waits for this service."""
    erasure = receipt.erasure
    if receipt.waits_for or erasure.completed_at is not None:
        record(session, UserErasureRequested(user_id=erasure.user_id, request_id=erasure.id))
    else:
        await enqueue(session, FINISH_JOB, str(erasure.id).encode())
    erasure.asked += 1
    erasure.last_asked_at = datetime.now(UTC)
