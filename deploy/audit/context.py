"""The context of a run: the databases, perhaps the topics, and the time before which a difference counts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from deploy.audit.databases import Databases

DEFAULT_GRACE = timedelta(minutes=5)
DEFAULT_NOTIFICATION_RETENTION = timedelta(days=90)
"""The default of NOTIFICATIONS_RETENTION_DAYS."""
RETENTION_MARGIN = timedelta(days=1)
"""Rows so near to the end of their retention may be purged while the audit runs."""
_FAR = timedelta(days=36_500)


class RecordPlace(NamedTuple):
    """The place of an event in Kafka."""

    topic: str
    partition: int
    offset: int
    event_id: str


class Topics(Protocol):
    """The records of Kafka's topics."""

    async def missing(self, places: Sequence[RecordPlace]) -> dict[int, str]:
        """Look for records; return what is wrong, by index in `places`."""


@dataclass(frozen=True)
class Context:
    """The state of one run. At rest nothing is in progress: every difference counts, and whatever waits is overdue."""

    databases: Databases
    now: datetime
    grace: timedelta = DEFAULT_GRACE
    at_rest: bool = False
    topics: Topics | None = None
    notification_retention: timedelta = DEFAULT_NOTIFICATION_RETENTION

    @property
    def settled_before(self) -> datetime:
        """The time before which a change must have reached every service."""
        return self.now + (_FAR if self.at_rest else -self.grace)

    @property
    def notified_since(self) -> datetime:
        """The time since which the notifications are complete. Older ones may be purged."""
        return self.now - self.notification_retention + RETENTION_MARGIN

    def counts(self, changed_at: datetime | None) -> bool:
        """Return whether a difference counts whose sides changed then."""
        return changed_at is None or changed_at <= self.settled_before
