"""Envelopes are encoded and decoded without loss, and only UUIDv7 is accepted as an event's id."""

from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest

from shared.ids import new_id
from shared.messaging.envelope import EventContext, day_of, encode_headers, headers_from_text, received_of
from tests.harness.builders import id_of

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("before", "day"), [(timedelta(), date(2026, 1, 1)), (timedelta(milliseconds=1), date(2025, 12, 31))]
)
def test_an_id_belongs_to_the_utc_day_of_its_creation(before: timedelta, day: date) -> None:
    assert day_of(id_of(round((NEW_YEAR - before).timestamp() * 1000))) == day


def test_a_new_id_belongs_to_today() -> None:
    before = datetime.now(UTC).date()
    assert before <= day_of(new_id()) <= datetime.now(UTC).date()


@pytest.mark.parametrize(
    "event_id",
    [
        id_of(1, version=4),
        id_of(1, version=8),
        id_of(1, variant=0b00),
        id_of(1, variant=0b11),
        id_of(2**48 - 1),
    ],
)
def test_an_id_of_another_version_has_no_day(event_id: UUID) -> None:
    with pytest.raises(ValueError, match=r"UUIDv7|ordinal|year"):
        day_of(event_id)


@pytest.mark.parametrize("form", ["{{{}}}", "urn:uuid:{}", "{}0", " {}"])
def test_an_id_in_another_notation_is_invalid(form: str) -> None:
    headers = headers_from_text(
        {
            "ce_specversion": "1.0",
            "ce_id": form.format(new_id()),
            "ce_source": "urn:orderly:test",
            "ce_type": "user.created",
            "ce_time": "2026-01-01T00:00:00+00:00",
            "ce_sequence": "1",
        }
    )
    received = received_of(topic="users", partition=0, offset=0, key="key", value=b"{}", headers=headers)
    assert received.context is None
    assert received.error is not None
    assert "UUID" in received.error


TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(("traceparent", "tracestate"), [(TRACEPARENT, "vendor=1"), (TRACEPARENT, None), (None, None)])
def test_a_decoded_envelope_equals_the_encoded_one(traceparent: str | None, tracestate: str | None) -> None:
    event_id, time = new_id(), datetime.now(UTC)
    headers = encode_headers(
        event_id=event_id,
        event_type="user.created",
        source="urn:orderly:users",
        dataschema="urn:orderly:event:user.created",
        occurred_at=time,
        key="key",
        sequence=7,
        traceparent=traceparent,
        tracestate=tracestate,
    )
    received = received_of(topic="users", partition=0, offset=0, key="key", value=b"{}", headers=dict(headers))
    assert received.context == EventContext(
        event_id=event_id,
        day=day_of(event_id),
        type="user.created",
        source="urn:orderly:users",
        time=time,
        topic="users",
        key="key",
        sequence=7,
        traceparent=traceparent,
        tracestate=tracestate,
    )
    assert dict(headers).keys() & {"traceparent", "tracestate"} == {
        name for name, value in [("traceparent", traceparent), ("tracestate", tracestate)] if value
    }
