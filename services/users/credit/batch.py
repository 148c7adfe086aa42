"""Credit as a batch of events changes it: locked and read by two statements, changed in memory, written by one."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.credit.ledger import entry_of
from services.users.models.credit import CreditAccount, CreditEntry, CreditEntryKind, CreditReservation
from shared.driver_statements import DriverStatement, fetch
from shared.transient_errors import TransientError

_LOCK_ACCOUNTS = DriverStatement("""
    SELECT user_id, limit_cents, reserved_cents, used_cents, currency
    FROM credit_account WHERE user_id = ANY(CAST(:user_ids AS uuid[]))
    ORDER BY user_id
    FOR UPDATE
""")
# A row without an order is an active user.
_RESERVATIONS_AND_ACTIVE_USERS = DriverStatement("""
    SELECT order_id, user_id, amount_cents, refunded_cents, currency, status, reason
    FROM credit_reservation WHERE order_id = ANY(CAST(:order_ids AS uuid[]))
    UNION ALL
    SELECT NULL, id, NULL, NULL, NULL, NULL, NULL
    FROM user_account WHERE id = ANY(CAST(:user_ids AS uuid[])) AND status = 'active'
""")

# An insert with ON CONFLICT DO NOTHING would hide that another transaction has reserved credit for the same order:
# its unique violation undoes the account's change too.
_WRITE = DriverStatement("""
    WITH inserted AS (
        INSERT INTO credit_reservation (
            order_id, user_id, amount_cents, refunded_cents, currency, status, reason, created_at, updated_at
        )
        SELECT n.*, :now, :now
        FROM unnest(
            CAST(:added_order_ids AS uuid[]), CAST(:added_user_ids AS uuid[]), CAST(:added_amounts AS bigint[]),
            CAST(:added_refunds AS bigint[]), CAST(:added_currencies AS text[]), CAST(:added_statuses AS text[]),
            CAST(:added_reasons AS text[])
        ) AS n
    ), updated AS (
        UPDATE credit_reservation r SET
            status = k.status, amount_cents = k.amount_cents, refunded_cents = k.refunded_cents, reason = k.reason,
            updated_at = :now
        FROM unnest(
            CAST(:known_order_ids AS uuid[]), CAST(:known_statuses AS text[]), CAST(:known_amounts AS bigint[]),
            CAST(:known_refunds AS bigint[]), CAST(:known_reasons AS text[])
        ) AS k (order_id, status, amount_cents, refunded_cents, reason)
        WHERE r.order_id = k.order_id
        AND (r.status, r.amount_cents, r.refunded_cents) <> (k.status, k.amount_cents, k.refunded_cents)
    ), entered AS (
        INSERT INTO credit_entry (
            user_id, order_id, kind, reserved_delta_cents, used_delta_cents, limit_delta_cents, reserved_cents,
            used_cents, limit_cents, actor, reason, created_at
        )
        SELECT e.user_id, e.order_id, e.kind, e.reserved_delta, e.used_delta, 0, e.reserved, e.used, e.limit_cents,
               e.actor, e.reason, :now
        FROM unnest(
            CAST(:entry_user_ids AS uuid[]), CAST(:entry_order_ids AS uuid[]), CAST(:entry_kinds AS text[]),
            CAST(:entry_reserved_deltas AS bigint[]), CAST(:entry_used_deltas AS bigint[]),
            CAST(:entry_reserved AS bigint[]), CAST(:entry_used AS bigint[]), CAST(:entry_limits AS bigint[]),
            CAST(:entry_actors AS text[]), CAST(:entry_reasons AS text[])
        ) WITH ORDINALITY AS e (
            user_id, order_id, kind, reserved_delta, used_delta, reserved, used, limit_cents, actor, reason, position
        )
        ORDER BY e.position
    )
    UPDATE credit_account a SET reserved_cents = c.reserved_cents, used_cents = c.used_cents
    FROM unnest(
        CAST(:account_user_ids AS uuid[]), CAST(:account_reserved AS bigint[]), CAST(:account_used AS bigint[])
    ) AS c (user_id, reserved_cents, used_cents)
    WHERE a.user_id = c.user_id AND (a.reserved_cents, a.used_cents) <> (c.reserved_cents, c.used_cents)
""")


class ReservedMeanwhile(TransientError):
    """Another transaction has inserted a reservation of one of these orders since they were read."""


@dataclass(frozen=True)
class Credit:
    """The locked accounts of some users and the reservations of some orders.

    Their objects are outside of the session, which would write each of them with a statement of its own.
    """

    accounts: dict[UUID, CreditAccount]
    """The accounts by user id. Unknown users have none."""
    active_user_ids: frozenset[UUID]
    """The users whose accounts are active."""
    reservations: dict[UUID, CreditReservation]
    """The reservations by order id, even those of other users. New orders have none."""
    added: list[CreditReservation] = field(default_factory=list)
    """The reservations that are not in the database yet."""
    entries: list[CreditEntry] = field(default_factory=list)
    """The entries of the ledger, in the order of the changes."""

    def of_order(self, order_id: UUID, *, user_id: UUID) -> tuple[CreditAccount | None, CreditReservation | None]:
        """Return the user's account, and the order's reservation if it belongs to this user."""
        reservation = self.reservations.get(order_id)
        is_theirs = reservation is not None and reservation.user_id == user_id
        return self.accounts.get(user_id), reservation if is_theirs else None

    def add(self, reservation: CreditReservation) -> None:
        """Add the reservation of an order that has none."""
        self.reservations[reservation.order_id] = reservation
        self.added.append(reservation)

    @contextmanager
    def entering(
        self,
        kind: CreditEntryKind,
        *,
        order_id: UUID,
        user_id: UUID,
        actor: str | None = None,
        reason: str | None = None,
    ) -> Iterator[None]:
        """Enter into the ledger what this block changes of the user's account, as the work of one order."""
        account = self.accounts.get(user_id)
        before = account.balances if account else None
        yield
        if account is not None and before is not None and account.balances != before:
            entry = entry_of(account, before=before, kind=kind, order_id=order_id, actor=actor, reason=reason)
            self.entries.append(entry)


async def lock_credit(session: AsyncSession, *, user_ids: Collection[UUID], order_ids: Collection[UUID]) -> Credit:
    """Lock the users' accounts, ordered by user id, then read the orders' reservations and who is active.

    The users' status is not locked: it may change before this transaction commits.
    """
    locked = await fetch(session, _LOCK_ACCOUNTS, {"user_ids": sorted(user_ids)})
    # A statement of its own: the first one's snapshot is older than its locks, and lacks what was committed since.
    rows = await fetch(
        session, _RESERVATIONS_AND_ACTIVE_USERS, {"order_ids": list(order_ids), "user_ids": list(user_ids)}
    )
    return Credit(
        accounts={row["user_id"]: CreditAccount(**dict(row)) for row in locked},
        active_user_ids=frozenset(row["user_id"] for row in rows if row["order_id"] is None),
        reservations={row["order_id"]: CreditReservation(**dict(row)) for row in rows if row["order_id"] is not None},
    )


async def write_credit(session: AsyncSession, credit: Credit) -> None:
    """Insert the added reservations and the ledger's entries; update the accounts and reservations that changed.

    Raises: ReservedMeanwhile.
    """
    added = sorted(credit.added, key=lambda reservation: reservation.order_id)
    added_order_ids = {each.order_id for each in added}
    # Another transaction may be changing the reservation of a user whose account is not locked here.
    known = [
        each
        for each in credit.reservations.values()
        if each.user_id in credit.accounts and each.order_id not in added_order_ids
    ]
    accounts = list(credit.accounts.values())
    parameters = {
        "now": datetime.now(UTC),
        "added_order_ids": [each.order_id for each in added],
        "added_user_ids": [each.user_id for each in added],
        "added_amounts": [each.amount_cents for each in added],
        "added_refunds": [each.refunded_cents for each in added],
        "added_currencies": [each.currency for each in added],
        "added_statuses": [each.status for each in added],
        "added_reasons": [each.reason for each in added],
        "known_order_ids": [each.order_id for each in known],
        "known_statuses": [each.status for each in known],
        "known_amounts": [each.amount_cents for each in known],
        "known_refunds": [each.refunded_cents for each in known],
        "known_reasons": [each.reason for each in known],
        "account_user_ids": [each.user_id for each in accounts],
        "account_reserved": [each.reserved_cents for each in accounts],
        "account_used": [each.used_cents for each in accounts],
    }
    try:
        await fetch(session, _WRITE, parameters | _entry_parameters(credit.entries))
    except asyncpg.UniqueViolationError as error:
        if error.constraint_name != "pk_credit_reservation":
            raise
        raise ReservedMeanwhile from error


def _entry_parameters(entries: Sequence[CreditEntry]) -> dict[str, list[Any]]:
    return {
        "entry_user_ids": [each.user_id for each in entries],
        "entry_order_ids": [each.order_id for each in entries],
        "entry_kinds": [each.kind for each in entries],
        "entry_reserved_deltas": [each.reserved_delta_cents for each in entries],
        "entry_used_deltas": [each.used_delta_cents for each in entries],
        "entry_reserved": [each.reserved_cents for each in entries],
        "entry_used": [each.used_cents for each in entries],
        "entry_limits": [each.limit_cents for each in entries],
        "entry_actors": [each.actor for each in entries],
        "entry_reasons": [each.reason for each in entries],
    }
