"""The watermark: the id at and below which the outbox has no rows, so that the relay's query need not begin at zero.

While an old snapshot is open, PostgreSQL keeps the index entries of all rows that were moved since, and a query from
zero would walk them at every poll.
"""

import time
from dataclasses import dataclass

FULL_SCAN_INTERVAL_SECONDS = 60.0
"""A query begins at zero this often all the same, in case a program that does not know the rules inserts a row."""


@dataclass
class _Candidate:
    row_id: int
    xid: int
    is_settled: bool = False
    """Whether every transaction that could still commit a lower id has ended."""


class Watermark:
    """Rises behind the moved rows.

    Ids are assigned before the commit, so a transaction in progress may still commit a row with a lower id. It got its
    transaction id before the row's id, and therefore before the transaction that moves a higher id. So a moved id is a
    candidate until all transactions up to the mover's have ended, and then until a query has found no row below it.
    Resending inserts rows with their old ids: it raises `resends` in the same transaction, and a query that finds
    another number begins at zero.
    """

    def __init__(self) -> None:
        self.resends = 0
        self._row_id = 0
        self._candidate: _Candidate | None = None
        self._latest: _Candidate | None = None
        """The last move since the candidate's; it is the next candidate."""
        self._full_scan_at = time.monotonic() + FULL_SCAN_INTERVAL_SECONDS

    def next_after(self) -> int:
        """Return the id after which the next query begins."""
        if time.monotonic() < self._full_scan_at:
            return self._row_id
        self._full_scan_at = time.monotonic() + FULL_SCAN_INTERVAL_SECONDS
        return 0

    def moved(self, row_id: int, *, xid: int, resends: int) -> None:
        """Note that the transaction `xid` has moved rows, the last one with this id."""
        if resends != self.resends:
            self.resends = resends
            self._row_id = 0
            self._candidate = self._latest = None
        highest_id = max(row_id, self._latest.row_id) if self._latest else row_id
        self._latest = _Candidate(highest_id, xid)
        if self._candidate is None:
            self._next_candidate()

    def observe(self, *, oldest_xid: int) -> None:
        """Note the oldest transaction that was in progress at some time. An old value never exceeds the mover's id."""
        if self._candidate is not None and oldest_xid > self._candidate.xid:
            self._candidate.is_settled = True

    def fetched(self, first_id: int | None) -> None:
        """Note that a query over all topics has found `first_id` as the lowest id, or no row."""
        candidate = self._candidate
        if candidate is not None and candidate.is_settled and (first_id is None or first_id > candidate.row_id):
            self._row_id = candidate.row_id
            self._next_candidate()

    def _next_candidate(self) -> None:
        is_higher = self._latest is not None and self._latest.row_id > self._row_id
        self._candidate, self._latest = self._latest if is_higher else None, None
