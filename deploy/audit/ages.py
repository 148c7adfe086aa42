"""Ages of ids: a UUIDv7 begins with the milliseconds of its creation, so ids sort by age."""

from datetime import datetime, timedelta
from uuid import UUID

CLOCK_MARGIN = timedelta(days=1)
"""Two services' clocks differ by less."""
_ZERO = UUID(int=0)


def first_id_at(time: datetime) -> UUID:
    """Return the lowest id that any service can have given at or after a time."""
    milliseconds = int((time - CLOCK_MARGIN).timestamp() * 1_000)
    return UUID(int=max(0, milliseconds) << 80)


def first_id_after(id_: UUID) -> UUID:
    """Return the lowest id of what came after this one. Zero if its age is unknown."""
    if id_.version != 7:
        return _ZERO
    margin = int(CLOCK_MARGIN.total_seconds() * 1_000)
    return UUID(int=max(0, (id_.int >> 80) - margin) << 80)
