"""Records with a header name that is not UTF-8 are read as aiokafka's fetcher reads records."""

import pytest
from aiokafka.consumer import fetcher
from aiokafka.record.memory_records import MemoryRecords

from shared.patches import aiokafka_records
from shared.patches.aiokafka_records import TolerantRecords
from tests.shared.patches.undecodable_headers import GZIP, NONE, ZSTD, builder, headers


def batch_of(*keys: bytes, undecodable: bytes, codec: int = NONE) -> bytes:
    """Return the bytes of a batch in which the record with the key `undecodable` has such a header name."""
    batch = builder(codec=codec)
    for offset, key in enumerate(keys):
        record_headers = headers(is_undecodable=key == undecodable)
        batch.append(offset=offset, timestamp=0, key=key, value=b"{}", headers=record_headers)
    return bytes(batch.build())


def test_aiokafka_itself_fails() -> None:
    """The patch can be removed once this test fails."""
    with pytest.raises(UnicodeDecodeError):
        list(MemoryRecords(batch_of(b"one", undecodable=b"one")).next_batch())


@pytest.mark.parametrize("codec", [NONE, GZIP, ZSTD])
def test_the_header_name_is_escaped(codec: int) -> None:
    raw = batch_of(b"first", b"middle", b"last", undecodable=b"middle", codec=codec)
    records = TolerantRecords(raw + raw)
    read: list[list[tuple[bytes, str]]] = []
    while records.has_next():
        batch = records.next_batch()
        assert batch is not None
        # As the fetcher does, skip the records that were read before the failure.
        by_offset = {record.offset: (record.key, record.headers[0][0]) for record in batch}
        read.append([by_offset[offset] for offset in sorted(by_offset)])
    assert read == [[(b"first", "plain"), (b"middle", "\\xff\\xfe"), (b"last", "plain")]] * 2


def test_the_fetcher_reads_through_the_patch() -> None:
    aiokafka_records.install()
    assert fetcher.MemoryRecords is TolerantRecords
    assert "MemoryRecords" in fetcher.Fetcher._proc_fetch_request.__code__.co_names
