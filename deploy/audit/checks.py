"""The checks by kind of key, and running them for any set of keys in pages."""

from collections.abc import Awaitable, Callable, Iterable, Sequence

from deploy.audit.context import Context
from deploy.audit.events import check_events
from deploy.audit.findings import Key, Kind, Violation
from deploy.audit.notifications import check_notifications
from deploy.audit.orders import check_orders
from deploy.audit.products import check_products
from deploy.audit.streams import check_streams
from deploy.audit.users import check_users

PAGE_KEYS = 500
"""Keys that one statement looks up. Raised, a page needs more memory; lowered, a run takes more statements."""

Check = Callable[[Context, Sequence[str]], Awaitable[list[Violation]]]
CHECKS: dict[Kind, Check] = {
    Kind.USER: check_users,
    Kind.ORDER: check_orders,
    Kind.PRODUCT: check_products,
    Kind.NOTIFICATION: check_notifications,
    Kind.STREAM: check_streams,
    Kind.EVENT: check_events,
}


async def check_keys(context: Context, keys: Iterable[Key]) -> list[Violation]:
    """Check keys in pages. Products are checked at once, since each page of them reads all open orders."""
    values: dict[Kind, list[str]] = {}
    for key in sorted(set(keys)):
        values.setdefault(key.kind, []).append(key.value)
    found: list[Violation] = []
    for kind, check in CHECKS.items():
        of_kind = values.get(kind, [])
        page_keys = len(of_kind) if kind is Kind.PRODUCT else PAGE_KEYS
        for start in range(0, len(of_kind), max(page_keys, 1)):
            found += await check(context, of_kind[start : start + page_keys])
    return found
