"""Every event for people: what it says, an example, who sends it and who reads it."""

import json
from collections.abc import Iterator

from shared.events.contract import Event
from shared.events.golden import golden_examples
from shared.events.topics import TOPICS, Topic
from shared.schema_fields import fields_of
from tests.contracts.events import CONTRACTS, readers, senders


def event_pages() -> str:
    """Markdown: a chapter for each topic, with its events."""
    return "\n\n".join(part for topic in TOPICS for part in _topic(topic))


def _topic(topic: Topic) -> Iterator[str]:
    events = [event for event in CONTRACTS.values() if event.topic == topic.name]
    yield f"## Topic `{topic.name}`"
    yield (
        f"Key: `{events[0].key_field}`. {topic.partitions} partitions, kept for {topic.retention.days} days. "
        f"Schemas: `shared/events/schemas/`."
    )
    for event in events:
        yield from _event(event)


def _event(event: type[Event]) -> Iterator[str]:
    read_by = readers()[event.type]
    yield f"### `{event.type}`"
    yield (event.__doc__ or "").strip()
    yield f"Sent by {', '.join(sorted(senders()[event.type]))}; read by {', '.join(read_by) or 'subscribers outside'}."
    schema = event.model_json_schema()
    rows = ["| field | type | |", "|---|---|---|"]
    for field in fields_of(schema, document=schema):
        notes = [] if field.required else ["May be missing."]
        rows.append(f"| `{field.path}` | {field.type} | {' '.join([field.description, *notes]).strip()} |")
    yield "\n".join(rows)
    if examples := golden_examples(event.type):
        yield f"```json\n{json.dumps(examples[-1], indent=2, ensure_ascii=False)}\n```"
