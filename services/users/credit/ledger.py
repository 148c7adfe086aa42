"""The ledger of credit: an entry for every change of an account, with its balances after the change."""

from uuid import UUID

from services.users.models.credit import Balances, CreditAccount, CreditEntry, CreditEntryKind

NOTHING = Balances(0, 0, 0)
"""The balances before an account is opened."""


def entry_of(
    account: CreditAccount,
    *,
    before: Balances,
    kind: CreditEntryKind,
    order_id: UUID | None = None,
    actor: str | None = None,
    reason: str | None = None,
) -> CreditEntry:
    """Build the entry of what an account has changed since it had the balances `before`."""
    return CreditEntry(
        user_id=account.user_id,
        order_id=order_id,
        kind=kind,
        reserved_delta_cents=account.reserved_cents - before.reserved_cents,
        used_delta_cents=account.used_cents - before.used_cents,
        limit_delta_cents=account.limit_cents - before.limit_cents,
        reserved_cents=account.reserved_cents,
        used_cents=account.used_cents,
        limit_cents=account.limit_cents,
        actor=actor,
        reason=reason,
    )
