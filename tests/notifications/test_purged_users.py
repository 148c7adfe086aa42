"""A purged user: the recipient goes with the notifications about the account, those about orders stay."""

from shared.database import Sessions
from shared.events.users import UserPurged
from shared.ids import new_id
from tests.harness.rows import Rows
from tests.notifications.events import apply, order_confirmed, user_created


async def test_a_purged_user_is_no_recipient_any_more(sessions: Sessions) -> None:
    purged, kept = new_id(), new_id()
    await apply(sessions, order_confirmed(purged))

    await apply(
        sessions,
        user_created(purged),
        user_created(kept, email="ben@example.org"),
        UserPurged(user_id=purged),
    )

    rows = Rows(sessions)
    assert await rows.of("SELECT user_id FROM recipient") == [(kept,)]
    assert await rows.of("SELECT user_id, category FROM notification ORDER BY category") == [
        (kept, "account"),
        (purged, "orders"),
    ]
