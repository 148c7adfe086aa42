"""The JSON Schemas of the events: as the code says, as they are committed, and as they were released."""

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
    """Named as `ce_dataschema` names it. Topic and key are part of the promise; the examples are the golden ones."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": dataschema_of(event.type),
        "x-topic": event.topic,
        "x-key": event.key_field,
        **event.model_json_schema(),
        "examples": golden_examples(event.type),
    }


def of_the_code() -> Schemas:
    """Event type -> its schema."""
    return {event_type: schema_of(event) for event_type, event in CONTRACTS.items()}


def read(folder: Path) -> Schemas:
    """Event type -> the schema in its file."""
    return {path.name.removesuffix(".json"): json.loads(path.read_text()) for path in sorted(folder.iterdir())}


def write(schemas: Schemas, folder: Path) -> None:
    """One file each; what is no event any more is removed."""
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        if path.name.removesuffix(".json") not in schemas:
            path.unlink()
    for event_type, schema in schemas.items():
        (folder / f"{event_type}.json").write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n")


def outdated_examples() -> list[str]:
    """The types whose newest golden example is not what is sent today: it has no example, or has grown since."""
    return [event_type for event_type, event in CONTRACTS.items() if not _shows_today(event)]


def broken_promises(*, released: Schemas, present: Schemas) -> list[str]:
    """What was released and is not kept; a new type breaks nothing."""
    return [
        f"{event_type}: {change}"
        for event_type, schema in released.items()
        for change in (breaking_changes(schema, present[event_type]) if event_type in present else ["was removed"])
    ]


def _shows_today(event: type[Event]) -> bool:
    examples = golden_examples(event.type)
    if not examples:
        return False
    read_back = event.model_validate_json(json.dumps(examples[-1]))
    return bool(json.loads(read_back.model_dump_json()) == examples[-1])
