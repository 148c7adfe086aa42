"""Dependencies of routes: who may call them."""

from typing import Annotated

from fastapi import Depends

from services.notifications.queries import NotificationNotFound
from shared.http.auth import NOBODY, SIGNED_IN, STAFF, Permit, by_owner

READ_NOTIFICATION = by_owner(own=SIGNED_IN, others=STAFF, others_denial=NotificationNotFound)
MARK_NOTIFICATION = by_owner(own=SIGNED_IN, others=NOBODY, others_denial=NotificationNotFound)
"""Only the user can have read a notification."""

ReadPermit = Annotated[Permit, Depends(READ_NOTIFICATION)]
MarkPermit = Annotated[Permit, Depends(MARK_NOTIFICATION)]
