"""Batches of records with a header name that is not UTF-8, as a client in another language may send them."""

from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

NONE, GZIP, ZSTD = 0, 1, 4
"""Compression codecs, as numbered by Kafka."""


class _RawName(str):
    """A header name that is encoded as bytes that are not UTF-8."""

    def encode(self, *_: object) -> bytes:
        return b"\xff\xfe"


def builder(*, codec: int) -> _DefaultRecordBatchBuilderPy:
    """Return an empty batch of the current format. aiokafka's C builder would not take the header name."""
    return _DefaultRecordBatchBuilderPy(
        magic=2,
        compression_type=codec,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=16_384,
    )


def headers(*, is_undecodable: bool) -> list[tuple[str, bytes]]:
    """Return a record's headers; the first has a plain name or one that is not UTF-8."""
    return [(_RawName("raw") if is_undecodable else "plain", b"\xff"), ("ce_id", b"1")]
