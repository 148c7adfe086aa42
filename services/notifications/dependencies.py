"""Dependencies of routes: who may call them."""

from typing import Annotated

from fastapi import Depends

from services.notifications.queries import ONLY_MAILED, NotificationNotFound
from shared.http.auth import NOBODY, OTHERS, OWN, SIGNED_IN, STAFF, Permit, Rule, SignedInAccess, by_owner

READ_NOTIFICATION = SignedInAccess(
    (
        Rule(OWN, SIGNED_IN),
        Rule(OTHERS, STAFF, NotificationNotFound),
        Rule(ONLY_MAILED, STAFF, NotificationNotFound),
    )
)
MARK_NOTIFICATION = by_owner(own=SIGNED_IN, others=NOBODY, others_denial=NotificationNotFound)
"""Only the user can have read a notification."""

ReadPermit = Annotated[Permit, Depends(READ_NOTIFICATION)]
MarkPermit = Annotated[Permit, Depends(MARK_NOTIFICATION)]
