"""What aiokafka fetches, read to the end: a header's name that is not UTF-8 would end its consumer, and the next."""

from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords

_LENGTH_AT = 8
_LENGTH_ENDS_AT = 12
"""Of a batch: its offset, and the bytes that follow; the same in all versions of the format."""


class TolerantRecords:
    """In place of aiokafka's own: a partition's share of a fetch."""

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
    """A batch that is read a second time, by Python and with names escaped, where it can't be read by aiokafka's C."""

    def __init__(self, batch: Any, raw: memoryview) -> None:
        self._batch = batch
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self._batch
        except UnicodeDecodeError:
            # From its first record on: the fetcher leaves out those that it had.
            again = iter(_DefaultRecordBatchPy(self._raw))
            again._buffer = _EscapedNames(again._buffer)  # noqa: SLF001 - decompressed by now; nothing public is
            yield from again

    def __next__(self) -> Any:
        """So the fetcher reads the end of a transaction, which has no headers."""
        return next(self._batch)


class _EscapedNames(bytearray):
    """Decodes whatever it is: of a batch, only the headers' names are decoded."""

    def __getitem__(self, place: Any) -> Any:
        found = super().__getitem__(place)
        return _EscapedNames(found) if isinstance(place, slice) else found

    def decode(self, *_: Any, **__: Any) -> str:
        return super().decode("utf-8", "backslashreplace")


def install() -> None:
    """For every consumer of this process."""
    fetcher.MemoryRecords = TolerantRecords
