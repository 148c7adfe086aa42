"""Waiting until a system has finished all orders: decided, mailed, and with no event under way."""

from collections.abc import Sequence
from dataclasses import dataclass

from deploy.audit.databases import Databases
from tests.bench.fixtures import OUTBOX_IS_EMPTY
from tests.bench.orders_load import PlacedOrder
from tests.harness.waiting import until

SETTLE_TIMEOUT_SECONDS = 60.0

_ARE_SETTLED = {
    "orders": "SELECT NOT EXISTS (SELECT FROM customer_order WHERE status = 'pending')",
    # Two conditions, because each has an index.
    "notifications": """
        SELECT NOT EXISTS (SELECT FROM delivery WHERE status = 'queued')
        AND NOT EXISTS (SELECT FROM delivery WHERE status IN ('sending', 'retrying'))
    """,
}
_NOTIFIED = "SELECT count(*) FROM inbox WHERE consumer = 'notifications.orders' AND day >= current_date"
_CONFIRMED = "SELECT order_id, at FROM order_timeline WHERE status = 'confirmed' AND order_id = ANY($1::uuid[])"


@dataclass(frozen=True)
class Settling:
    """Knows from the databases how far the orders are."""

    databases: Databases

    async def notified(self) -> int:
        """Return how many order events the notifications service has applied."""
        count: int = await self.databases["notifications"].fetchval(_NOTIFIED)
        return count

    async def wait(self, *, notified: int) -> None:
        """Wait until every order is decided, its mails are sent, and no event is under way. Raises: AssertionError."""

        async def has_settled() -> bool:
            for service, condition in _ARE_SETTLED.items():
                if not await self.databases[service].fetchval(condition):
                    return False
            if await self.notified() < notified:
                return False
            return all([await one.fetchval(OUTBOX_IS_EMPTY) for one in self.databases.values()])

        await until(has_settled, seconds=SETTLE_TIMEOUT_SECONDS, what="the end of the saga", poll_seconds=0.1)

    async def confirmed_at(self, placed: Sequence[PlacedOrder]) -> list[float]:
        """Return the Unix time of each order's confirmation. Raises: AssertionError if one was not confirmed."""
        rows = await self.databases["orders"].fetch(_CONFIRMED, [order.id for order in placed])
        at = {str(row["order_id"]): row["at"].timestamp() for row in rows}
        missing = [order.id for order in placed if order.id not in at]
        assert not missing, f"{len(missing)} of {len(placed)} orders were not confirmed, such as {missing[0]}"
        return [at[order.id] for order in placed]
