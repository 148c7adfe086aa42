"""Reads of the store's rows for an export, in pages, with what they hold of personal data masked."""

import json
import sqlite3
from collections import defaultdict
from functools import partial

from deploy.console.exports.masking import masked
from deploy.console.telemetry.records import LogRecord, ReceivedSpan, SpanLink, SpanRecord
from deploy.console.telemetry.store import TelemetryStore

PAGE = 5_000
"""Rows of a statement. The store bounds the time of each."""


async def all_spans(telemetry: TelemetryStore) -> list[ReceivedSpan]:
    """Return all spans, in the order of their arrival. Raises: TelemetryUnavailable."""
    spans: list[ReceivedSpan] = []
    after = 0
    while page := await telemetry.read(partial(_spans_after, after=after)):
        spans += [span for _, span in page]
        after = page[-1][0]
    return spans


async def all_logs(telemetry: TelemetryStore) -> list[LogRecord]:
    """Return all log records, in the order of their arrival. Raises: TelemetryUnavailable."""
    records: list[LogRecord] = []
    after = 0
    while page := await telemetry.read(partial(_logs_after, after=after)):
        records += [record for _, record in page]
        after = page[-1][0]
    return records


def _spans_after(connection: sqlite3.Connection, *, after: int) -> list[tuple[int, ReceivedSpan]]:
    columns = ", ".join(SpanRecord._fields)
    rows = connection.execute(
        f"SELECT id, {columns} FROM spans WHERE id > ? ORDER BY id LIMIT {PAGE}",  # noqa: S608 - own names
        (after,),
    ).fetchall()
    links: dict[int, list[SpanLink]] = defaultdict(list)
    if rows:
        between = "SELECT span, trace_id, span_id FROM links WHERE span BETWEEN ? AND ?"
        for span, trace_id, span_id in connection.execute(between, (rows[0][0], rows[-1][0])):
            links[span].append(SpanLink(trace_id, span_id))
    return [(row[0], ReceivedSpan(_masked_span(SpanRecord(*row[1:])), tuple(links[row[0]]))) for row in rows]


def _logs_after(connection: sqlite3.Connection, *, after: int) -> list[tuple[int, LogRecord]]:
    columns = ", ".join(LogRecord._fields)
    rows = connection.execute(
        f"SELECT id, {columns} FROM log_records WHERE id > ? ORDER BY id LIMIT {PAGE}",  # noqa: S608 - own names
        (after,),
    )
    return [(row[0], _masked_log(LogRecord(*row[1:]))) for row in rows]


def _masked_span(span: SpanRecord) -> SpanRecord:
    return span._replace(
        has_failed=bool(span.has_failed),
        status_message=masked(span.status_message),
        attributes=_masked_json(span.attributes),
        events=_masked_json(span.events),
    )


def _masked_log(record: LogRecord) -> LogRecord:
    return record._replace(event=masked(record.event), fields=_masked_json(record.fields))


def _masked_json(text: str) -> str:
    return json.dumps(masked(json.loads(text), parent="spans"))
