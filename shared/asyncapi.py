"""A service's events as an AsyncAPI 3 document: what it publishes, what it consumes, and the format of each event.

The document is generated from the event classes, the declared topics and the subscriptions, so it cannot differ from
the code. FastStream's own generator knows none of them: the relay publishes all events, and one handler takes every
batch of a topic.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from pydantic.json_schema import models_json_schema

from shared.events.contract import EVENT_TYPES, Event
from shared.events.golden import golden_examples
from shared.events.topics import CLEANUP_POLICY, TOPICS, Topic, source_of, topic_named
from shared.messaging.consumer.subscription import Subscription
from shared.messaging.envelope import encode_headers
from shared.messaging.outbox.outbox import dataschema_of

Json = dict[str, Any]

HEADERS = "CloudEventHeaders"
_ABOUT_EVENTS = (
    "Events are CloudEvents 1.0 on Kafka, in the binary content mode: the value is the data, and the attributes are "
    "headers. Each event is delivered at least once."
)
_BINDING = {"bindingVersion": "0.5.0"}
_HEADER_FIELDS: Json = {
    "ce_specversion": {
        "type": "string",
        "const": "1.0",
        "description": "The version of CloudEvents.",
    },
    "ce_id": {
        "type": "string",
        "format": "uuid",
        "description": "A UUIDv7. A redelivered event has the same id: use it to apply each event only once.",
    },
    "ce_source": {
        "type": "string",
        "format": "uri-reference",
        "description": "The service that published the event. Do not apply an event of another source.",
    },
    "ce_type": {
        "type": "string",
        "description": "The type of the event. Ignore types that you do not know.",
    },
    "ce_time": {"type": "string", "format": "date-time", "description": "The time at which the event occurred."},
    "ce_subject": {"type": "string", "description": "The key of the Kafka record."},
    "ce_dataschema": {"type": "string", "format": "uri", "description": "The `$id` of the JSON Schema of the data."},
    "ce_sequence": {
        "type": "string",
        "pattern": "^[1-9][0-9]*$",
        "description": (
            "The number of the event among those with its topic and key. It rises by one, types that you ignore "
            "included; after a silence of more than 45 days, it may continue with a higher number, and after a restore "
            "of the producer's database it does: bits 22 and above are the generation. The first number need not be 1."
        ),
    },
    "content-type": {"type": "string", "const": "application/json", "description": "The format of the data."},
    "traceparent": {"type": "string", "description": "The W3C trace context, if the event is part of a trace."},
    "tracestate": {"type": "string", "description": "Vendor-specific W3C trace context, if there is any."},
}
_OPTIONAL_HEADERS = {"traceparent", "tracestate"}


def asyncapi_document(
    *,
    service: str,
    description: str,
    subscriptions: Sequence[Subscription],
    bootstrap_servers: str = "",
    topic_prefix: str = "",
) -> Json:
    """Return the document of a service.

    A service publishes the events that its module of `shared.events` declares, and consumes those it has a handler for.
    """
    published = [event for event in EVENT_TYPES.values() if event.__module__ == f"shared.events.{service}"]
    consumed = [event for subscription in subscriptions for event in subscription.event_types]
    events = sorted({*published, *consumed}, key=lambda event: event.type)
    topics = [topic for topic in TOPICS if topic.name in {event.topic for event in events}]
    return {
        "asyncapi": "3.0.0",
        "id": source_of(service),
        "info": {
            "title": f"Orderly {service}: events",
            "version": "1",
            "description": f"{description} {_ABOUT_EVENTS}",
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "servers": _servers(bootstrap_servers),
        "channels": {topic.name: _channel(topic, events, prefix=topic_prefix) for topic in topics},
        "operations": {
            **{f"send.{topic.name}": _sending(topic, published) for topic in topics if _on(topic, published)},
            **{
                f"receive.{topic.name}": _receiving(topic, consumed, group=f"{topic_prefix}{service}.{topic.name}")
                for topic in topics
                if _on(topic, consumed)
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
        "description": "Events with the same key are in the order in which they were committed.",
        "messages": {event.type: {"$ref": f"#/components/messages/{event.type}"} for event in _on(topic, events)},
        "bindings": {
            "kafka": {
                "partitions": topic.partitions,
                "topicConfiguration": {
                    "cleanup.policy": [CLEANUP_POLICY],
                    "retention.ms": int(topic.retention.total_seconds() * 1000),
                },
                **_BINDING,
            }
        },
    }


def _sending(topic: Topic, events: Iterable[type[Event]]) -> Json:
    return _operation("send", topic, _on(topic, events)) | {
        "summary": "Recorded in the same transaction as the change that it reports, and published after the commit."
    }


def _receiving(topic: Topic, events: Iterable[type[Event]], *, group: str) -> Json:
    return _operation("receive", topic, _on(topic, events)) | {
        "summary": "Each event is applied once, in the order of its key. The topic's other events are ignored.",
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
    fixed = {"ce_type": event.type, "ce_source": topic_named(event.topic).source}
    fixed_headers = {
        "type": "object",
        "properties": {name: {"type": "string", "const": value} for name, value in fixed.items()},
    }
    return {
        "name": event.type,
        "title": event.__name__,
        "summary": (event.__doc__ or "").strip(),
        "contentType": "application/json",
        "headers": {"type": "object", "allOf": [{"$ref": f"#/components/schemas/{HEADERS}"}, fixed_headers]},
        "payload": {"$ref": f"#/components/schemas/{event.__name__}"},
        "bindings": {"kafka": {"key": _key(event), **_BINDING}},
        "examples": [
            {"name": f"version-{version}", "headers": _example_headers(event, data), "payload": data}
            for version, data in enumerate(golden_examples(event.type), start=1)
        ],
    }


def _key(event: type[Event]) -> Json:
    is_id = event.model_fields[event.key_field].annotation is UUID
    return {
        "type": "string",
        **({"format": "uuid"} if is_id else {}),
        "description": f"Record key: `{event.key_field}`.",
    }


def _headers() -> Json:
    return {
        "type": "object",
        "description": "CloudEvents 1.0 attributes and the trace context, as UTF-8 text.",
        "properties": _HEADER_FIELDS,
        "required": [name for name in _HEADER_FIELDS if name not in _OPTIONAL_HEADERS],
    }


def _example_headers(event: type[Event], data: Json) -> Json:
    headers = encode_headers(
        event_id=UUID("019ab0f2-3588-7f46-a3e0-8d1b7c5f9e24"),
        event_type=event.type,
        source=topic_named(event.topic).source,
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
