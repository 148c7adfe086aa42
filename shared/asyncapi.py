"""A service's side of Kafka as an AsyncAPI 3 document: what it sends, what it reads, and how an event looks.

Made from the event classes, the declared topics and the subscriptions, so that it can't say anything else than the
code. FastStream's own generator sees neither: the relay sends for all, and one handler takes every batch.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from pydantic.json_schema import models_json_schema

from shared.events.contract import EVENT_TYPES, Event
from shared.events.golden import golden_examples
from shared.events.topics import TOPICS, Topic
from shared.messaging.consumer.subscription import Subscription
from shared.messaging.envelope import encode_headers
from shared.messaging.outbox.outbox import dataschema_of

Json = dict[str, Any]

HEADERS = "CloudEventHeaders"
_BINDING = {"bindingVersion": "0.5.0"}
_HEADER_FIELDS: Json = {
    "ce_specversion": {"type": "string", "const": "1.0", "description": "CloudEvents, Kafka binary binding."},
    "ce_id": {
        "type": "string",
        "format": "uuid",
        "description": "A UUIDv7, the same at every repetition: remember it, and apply an event once.",
    },
    "ce_source": {"type": "string", "format": "uri-reference", "description": "The sender."},
    "ce_type": {"type": "string", "description": "The event's name. Ignore those that you do not know."},
    "ce_time": {"type": "string", "format": "date-time", "description": "When it happened."},
    "ce_subject": {"type": "string", "description": "The record's key."},
    "ce_dataschema": {"type": "string", "format": "uri", "description": "The `$id` of the data's JSON Schema."},
    "ce_sequence": {
        "type": "string",
        "pattern": "^[1-9][0-9]*$",
        "description": "Counts the events of one topic and key from 1, without a gap.",
    },
    "content-type": {"type": "string", "const": "application/json"},
    "traceparent": {"type": "string", "description": "W3C Trace Context, where there is a trace."},
    "tracestate": {"type": "string", "description": "W3C Trace Context, where there is a state."},
}
_SOMETIMES = {"traceparent", "tracestate"}


def asyncapi_document(
    *,
    service: str,
    description: str,
    subscriptions: Sequence[Subscription],
    bootstrap_servers: str = "",
    topic_prefix: str = "",
) -> Json:
    """A service sends what its module of shared.events declares, and reads what it has a handler for."""
    sent = [event for event in EVENT_TYPES.values() if event.__module__ == f"shared.events.{service}"]
    read = [event for subscription in subscriptions for event in subscription.event_types]
    events = sorted({*sent, *read}, key=lambda event: event.type)
    topics = [topic for topic in TOPICS if topic.name in {event.topic for event in events}]
    return {
        "asyncapi": "3.0.0",
        "id": f"urn:orderly:{service}",
        "info": {
            "title": f"Orderly {service}: events",
            "version": "1",
            "description": f"{description} CloudEvents 1.0 in Kafka's binary binding; delivered at least once.",
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "servers": _servers(bootstrap_servers),
        "channels": {topic.name: _channel(topic, events, prefix=topic_prefix) for topic in topics},
        "operations": {
            **{f"send.{topic.name}": _sending(topic, sent) for topic in topics if _on(topic, sent)},
            **{
                f"receive.{topic.name}": _receiving(topic, read, group=f"{topic_prefix}{service}.{topic.name}")
                for topic in topics
                if _on(topic, read)
            },
        },
        "components": {
            "messages": {event.type: _message(event) for event in events},
            "schemas": {HEADERS: _headers(), **_data_schemas(events)},
        },
    }


def _servers(bootstrap_servers: str) -> Json:
    hosts = [host.strip() for host in bootstrap_servers.split(",") if host.strip()]
    return {f"kafka-{number}": {"host": host, "protocol": "kafka"} for number, host in enumerate(hosts, start=1)}


def _on(topic: Topic, events: Iterable[type[Event]]) -> list[type[Event]]:
    return sorted((event for event in events if event.topic == topic.name), key=lambda event: event.type)


def _channel(topic: Topic, events: Iterable[type[Event]], *, prefix: str) -> Json:
    return {
        "address": prefix + topic.name,
        "description": "Events of one key are in the order of their commits.",
        "messages": {event.type: {"$ref": f"#/components/messages/{event.type}"} for event in _on(topic, events)},
        "bindings": {
            "kafka": {
                "partitions": topic.partitions,
                "topicConfiguration": {
                    "cleanup.policy": [topic.cleanup_policy],
                    "retention.ms": int(topic.retention.total_seconds() * 1000),
                },
                **_BINDING,
            }
        },
    }


def _sending(topic: Topic, events: Iterable[type[Event]]) -> Json:
    return _operation("send", topic, _on(topic, events)) | {
        "summary": "What this service tells: each in the transaction that made it true."
    }


def _receiving(topic: Topic, events: Iterable[type[Event]], *, group: str) -> Json:
    return _operation("receive", topic, _on(topic, events)) | {
        "summary": "What this service applies, once and in order; it ignores the topic's other events.",
        "bindings": {"kafka": {"groupId": {"type": "string", "const": group}, **_BINDING}},
    }


def _operation(action: str, topic: Topic, events: Iterable[type[Event]]) -> Json:
    channel = f"#/channels/{topic.name}"
    return {
        "action": action,
        "channel": {"$ref": channel},
        "messages": [{"$ref": f"{channel}/messages/{event.type}"} for event in events],
    }


def _message(event: type[Event]) -> Json:
    type_header = {"type": "object", "properties": {"ce_type": {"type": "string", "const": event.type}}}
    return {
        "name": event.type,
        "title": event.__name__,
        "summary": (event.__doc__ or "").strip(),
        "contentType": "application/json",
        "headers": {"type": "object", "allOf": [{"$ref": f"#/components/schemas/{HEADERS}"}, type_header]},
        "payload": {"$ref": f"#/components/schemas/{event.__name__}"},
        "bindings": {"kafka": {"key": _key(event), **_BINDING}},
        "examples": [
            {"name": f"version-{version}", "headers": _example_headers(event, data), "payload": data}
            for version, data in enumerate(golden_examples(event.type), start=1)
        ],
    }


def _key(event: type[Event]) -> Json:
    is_id = event.model_fields[event.key_field].annotation is UUID
    return {"type": "string", **({"format": "uuid"} if is_id else {}), "description": f"Key: `{event.key_field}`."}


def _headers() -> Json:
    return {
        "type": "object",
        "description": "CloudEvents 1.0 attributes, as UTF-8 text.",
        "properties": _HEADER_FIELDS,
        "required": [name for name in _HEADER_FIELDS if name not in _SOMETIMES],
    }


def _example_headers(event: type[Event], data: Json) -> Json:
    headers = encode_headers(
        event_id=UUID("019ab0f2-3588-7f46-a3e0-8d1b7c5f9e24"),
        event_type=event.type,
        source=f"urn:orderly:{event.__module__.rpartition('.')[2]}",
        dataschema=dataschema_of(event.type),
        occurred_at=datetime(2026, 11, 23, 10, 0, 31, 123456, tzinfo=UTC),
        key=str(data[event.key_field]),
        sequence=2,
        traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        tracestate=None,
    )
    return {name: value.decode() for name, value in headers}


def _data_schemas(events: Sequence[type[Event]]) -> Json:
    _, schemas = models_json_schema(
        [(event, "validation") for event in events], ref_template="#/components/schemas/{model}"
    )
    definitions: Json = schemas.get("$defs", {})
    return definitions
