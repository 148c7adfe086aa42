"""The JSON Schemas of events: the current, the committed and the released ones."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shared.events.contract import Event
from shared.events.golden import golden_examples
from shared.messaging.outbox.outbox import dataschema_of
from tests.architecture.source import CHECKOUT
from tests.contracts.compatibility import breaking_changes
from tests.contracts.events import CONTRACTS

COMMITTED = CHECKOUT / "shared" / "events" / "schemas"
RELEASED = CHECKOUT / "shared" / "events" / "released"

Schemas = Mapping[str, dict[str, Any]]


def schema_of(event: type[Event]) -> dict[str, Any]:
    """Return an event's schema. Topic and key are part of the contract; the examples are the golden examples."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": dataschema_of(event.type),
        "x-topic": event.topic,
        "x-key": event.key_field,
        **event.model_json_schema(),
        "examples": golden_examples(event.type),
    }


def current_schemas() -> Schemas:
    """Return the schema of each event type, generated from the code."""
    return {event_type: schema_of(event) for event_type, event in CONTRACTS.items()}


def read(folder: Path) -> Schemas:
    """Return the schema of each event type, read from the files in a folder."""
    return {path.name.removesuffix(".json"): json.loads(path.read_text()) for path in sorted(folder.iterdir())}


def write(schemas: Schemas, folder: Path) -> None:
    """Write one file per event type, and remove those of other types."""
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        if path.name.removesuffix(".json") not in schemas:
            path.unlink()
    for event_type, schema in schemas.items():
        (folder / f"{event_type}.json").write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n")


def outdated_examples() -> list[str]:
    """Return the event types whose last golden example is missing, or lacks a field of the current version."""
    return [event_type for event_type, event in CONTRACTS.items() if not _has_current_example(event)]


def broken_releases(*, released: Schemas, current: Schemas) -> list[str]:
    """Describe each change that breaks a released schema. New event types break nothing."""
    return [
        f"{event_type}: {change}"
        for event_type, schema in released.items()
        for change in (breaking_changes(schema, current[event_type]) if event_type in current else ["was removed"])
    ]


def _has_current_example(event: type[Event]) -> bool:
    examples = golden_examples(event.type)
    if not examples:
        return False
    read_back = event.model_validate_json(json.dumps(examples[-1]))
    return bool(json.loads(read_back.model_dump_json()) == examples[-1])
