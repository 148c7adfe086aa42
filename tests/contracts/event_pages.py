"""The event catalogue of docs/events.md: fields, an example, publishers and consumers of every event."""

import json
from collections.abc import Iterator
from typing import Any

from shared.events.contract import Event
from shared.events.golden import golden_examples
from shared.events.topics import TOPICS, Topic
from shared.schema_fields import fields_of
from tests.contracts.events import CONTRACTS, OUTSIDE, consumers, publishers


def event_pages() -> str:
    """Return Markdown with a section for each topic and its events."""
    return "\n\n".join(part for topic in TOPICS for part in _topic(topic))


def _topic(topic: Topic) -> Iterator[str]:
    events = [event for event in CONTRACTS.values() if event.topic == topic.name]
    yield f"## Topic `{topic.name}`"
    yield (
        f"Key: `{events[0].key_field}`. {topic.partitions} partitions, retained for {topic.retention.days} days. "
        f"Schemas: `shared/events/schemas/`."
    )
    for event in events:
        yield from _event(event, usual_key=events[0].key_field)


def _event(event: type[Event], *, usual_key: str) -> Iterator[str]:
    consumed_by = ", ".join(consumers()[event.type]) or OUTSIDE
    yield f"### `{event.type}`"
    yield (event.__doc__ or "").strip()
    key = f" Key: `{event.key_field}`." if event.key_field != usual_key else ""
    yield f"Published by {', '.join(sorted(publishers()[event.type]))}; consumed by {consumed_by}.{key}"
    schema = event.model_json_schema()
    rows = ["| field | type | description |", "|---|---|---|"]
    for field in fields_of(schema, document=schema):
        notes = [] if field.required else ["Optional."]
        rows.append(f"| `{field.path}` | {field.type} | {' '.join([field.description, *notes]).strip()} |")
    yield "\n".join(rows)
    if examples := golden_examples(event.type):
        yield f"```json\n{json.dumps(_shortened(examples[-1]), indent=2, ensure_ascii=False)}\n```"


def _shortened(example: Any) -> Any:
    """Return an example without the middle of sealed data, which nobody reads."""
    if sealed := example.get("personal"):
        return {**example, "personal": f"{sealed[:20]}...{sealed[-8:]}"}
    return example
