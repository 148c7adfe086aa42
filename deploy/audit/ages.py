"""Ages of ids: a UUIDv7 begins with the milliseconds of its creation, so ids sort by age."""

from datetime import datetime, timedelta
from uuid import UUID

CLOCK_MARGIN = timedelta(days=1)
"""Two services' clocks differ by less."""


def first_id_at(time: datetime) -> UUID:
    """Return the lowest id that any service can have given at or after a time."""
    milliseconds = int((time - CLOCK_MARGIN).timestamp() * 1_000)
    return UUID(int=max(0, milliseconds) << 80)
