"""Recording of failed sign-ins in the security record, with a bound, so that nobody can fill the database with them."""

import time
from collections.abc import Callable
from uuid import UUID

from services.users.security_record.commands import ANONYMOUS, Origin, append
from shared.database import Sessions

MAX_PER_HOUR = 1_000
"""Entries of one process within an hour: 720,000 rows in the 30 days for which they are kept. The log has the rest."""
_HOUR_SECONDS = 3_600


class FailedSignIns:
    """Appends failed sign-ins to the security record, at most so many within an hour.

    The bound is one for all accounts: one per account would let a sign-in to a known account take another time than
    one to an unknown account.
    """

    def __init__(self, *, max_per_hour: int = MAX_PER_HOUR, clock: Callable[[], float] = time.monotonic) -> None:
        """Count the entries of each hour of the clock, which returns seconds."""
        self._max_per_hour = max_per_hour
        self._clock = clock
        self._hour = -1
        self._count = 0

    async def append(self, sessions: Sessions, *, user_id: UUID | None, origin: Origin) -> None:
        """Append an entry; without an account it has no user. The statements are the same."""
        if not self._take():
            return
        async with sessions.begin() as session:
            await append(session, "sign_in_failed", user_id=user_id, actor=ANONYMOUS, origin=origin)

    def _take(self) -> bool:
        hour = int(self._clock() // _HOUR_SECONDS)
        if hour != self._hour:
            self._hour, self._count = hour, 0
        self._count += 1
        return self._count <= self._max_per_hour
