"""aiokafka: records whose header names are not UTF-8.

aiokafka 0.14 raises UnicodeDecodeError for such a name, which ends the consumer, and every successor at the same
record. This replaces `aiokafka.consumer.fetcher.MemoryRecords` and uses the pure Python `_DefaultRecordBatchPy` with
its `_buffer`. There is no upstream issue. The patch can go when aiokafka decodes header names with an error handler.
"""

from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords

_LENGTH_AT = 8
_LENGTH_ENDS_AT = 12
"""A batch of every format version begins with its offset, then the number of bytes that follow both fields."""


class TolerantRecords:
    """One partition's batches of a fetch, in place of aiokafka's class."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._position = 0
        self._records = MemoryRecords(raw)

    def size_in_bytes(self) -> int:
        return len(self._raw)

    def has_next(self) -> bool:
        return bool(self._records.has_next())

    def next_batch(self) -> "_TolerantBatch | None":
        batch = self._records.next_batch()
        if batch is None:
            return None
        begin = self._position
        length = int.from_bytes(self._raw[begin + _LENGTH_AT : begin + _LENGTH_ENDS_AT], "big")
        self._position = begin + _LENGTH_ENDS_AT + length
        return _TolerantBatch(batch, memoryview(self._raw)[begin : self._position])


class _TolerantBatch:
    """A batch that is read by aiokafka's C code and, if that fails, again in Python with escaped header names."""

    def __init__(self, batch: Any, raw: memoryview) -> None:
        self._batch = batch
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self._batch
        except UnicodeDecodeError:
            # Begin with the first record again: the fetcher skips the records that it has seen.
            again = iter(_DefaultRecordBatchPy(self._raw))
            again._buffer = _EscapedNames(again._buffer)  # noqa: SLF001 - decompressed by now, and not public
            yield from again

    def __next__(self) -> Any:
        """Return the next record. The fetcher reads the marker of a transaction's end this way; it has no headers."""
        return next(self._batch)


class _EscapedNames(bytearray):
    """Bytes that decode without errors. Of a batch's bytes, aiokafka decodes only header names."""

    def __getitem__(self, place: Any) -> Any:
        found = super().__getitem__(place)
        return _EscapedNames(found) if isinstance(place, slice) else found

    def decode(self, *_: Any, **__: Any) -> str:
        return super().decode("utf-8", "backslashreplace")


def install() -> None:
    """Patch every consumer of this process."""
    fetcher.MemoryRecords = TolerantRecords
