"""Gaps in the sequences that a process receives: a sign that Kafka, an operator or a producer has lost events.

The audit compares what was sent with what was applied, and has the last word; this tells at once. It judges only keys
that this process has followed without a break, so a key that it no longer remembers has no gap.
"""

import time

import structlog

from shared.messaging import metrics
from shared.messaging.envelope import MAX_KEY_LENGTH, MAX_SEQUENCE, RawHeaders, Record
from shared.messaging.storage.generation import generation_of

logger = structlog.get_logger(__name__)

MAX_KEYS = 10_000
"""Keys remembered per consumer, twice: about 2 MB. With more keys at once, gaps of some are not noticed."""
MAX_AGE_SECONDS = 3600.0
"""Time after which half of the memory is dropped. A key that was silent for weeks may begin with another number."""
_MAX_DIGITS = len(str(MAX_SEQUENCE))


class SequenceGaps:
    """The last sequence of each key that was received lately."""

    def __init__(self, consumer: str, *, source: str) -> None:
        """Check the events of this `ce_source` only: another one may write any number."""
        self._consumer = consumer
        self._source = source.encode()
        self._last: dict[bytes, int] = {}
        self._older: dict[bytes, int] = {}
        self._began_at = time.monotonic()

    def clear(self) -> None:
        """Drop all keys, because other members may have received some of their events."""
        self._last, self._older = {}, {}

    def note(self, record: Record, headers: RawHeaders) -> None:
        """Note a received record; count and log a gap before it."""
        key, digits = record.key, headers.get("ce_sequence")
        if key is None or digits is None or headers.get("ce_source") != self._source:
            return
        # Anybody may send a record with a huge key or number.
        if len(key) > MAX_KEY_LENGTH or len(digits) > _MAX_DIGITS or not digits.isdigit():
            return
        sequence = int(digits)
        last = self._last.get(key) or self._older.get(key)
        if last is not None and sequence > last + 1 and generation_of(sequence) == generation_of(last):
            metrics.GAPS.labels(self._consumer).inc()
            logger.error(
                "sequence_gap_noticed",
                consumer=self._consumer,
                partition=record.partition,
                offset=record.offset,
                last_sequence=last,
                sequence=sequence,
            )
        # A record that Kafka delivers again does not set the key back.
        self._last[key] = max(last or 0, sequence)
        if len(self._last) >= MAX_KEYS or time.monotonic() - self._began_at > MAX_AGE_SECONDS:
            self._last, self._older, self._began_at = {}, self._last, time.monotonic()
