"""An AsyncAPI document as an HTML page, without scripts and external resources."""

import json
import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from shared.schema_fields import fields_of, resolved

Json = Mapping[str, Any]

MS_PER_DAY = 86_400_000
_HEADINGS = {"send": "Publishes to", "receive": "Consumes from"}
_ACTIONS = {"send": "published", "receive": "consumed"}
_OPTIONAL = ' <span class="note">Optional.</span>'
_STYLE = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent);
  --soft: color-mix(in srgb, currentColor 6%, transparent); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0; } h2 { margin-top: 3rem; border-bottom: 1px solid var(--line); }
h3 { margin: 2rem 0 0; font-family: ui-monospace, monospace; } p { margin: .4rem 0; }
code, pre { font-family: ui-monospace, monospace; font-size: .9em; }
pre { background: var(--soft); padding: .8rem 1rem; overflow-x: auto; border-radius: 6px; }
table { border-collapse: collapse; width: 100%; margin: .6rem 0; }
th, td { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); }
table { table-layout: fixed; } th { font-weight: 600; }
td { overflow-wrap: anywhere; } th:nth-child(-n+2) { width: 28%; } .contents th:nth-child(2) { width: 7rem; }
summary { cursor: pointer; } .facts, .note { opacity: .75; }
"""


def asyncapi_page(document: Json) -> str:
    """Render an AsyncAPI 3 document as a page."""
    info = document["info"]
    title = escape(info["title"])
    return "\n".join(
        [
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<link rel="icon" href="data:,"><style>{_STYLE}</style></head><body>',
            f"<h1>{title}</h1><p>{escape(info['description'])}</p>",
            '<p><a href="asyncapi.json">AsyncAPI document</a> · <a href="docs">HTTP API</a></p>',
            *_contents(document),
            *(part for operation in document["operations"].values() for part in _operation(operation, document)),
            *_headers(document),
            "</body></html>",
        ]
    )


def _contents(document: Json) -> Iterator[str]:
    servers = ", ".join(f"<code>{escape(server['host'])}</code>" for server in document["servers"].values())
    if servers:
        yield f"<p>Kafka brokers: {servers}</p>"
    yield '<table class="contents"><tr><th>Event</th><th>Direction</th><th>Description</th></tr>'
    for operation in document["operations"].values():
        for message in _messages(operation, document):
            name = escape(message["name"])
            action = _ACTIONS[operation["action"]]
            yield (
                f'<tr><td><a href="#{name}"><code>{name}</code></a></td><td>{action}</td>'
                f"<td>{_prose(message['summary'])}</td></tr>"
            )
    yield "</table>"


def _operation(operation: Json, document: Json) -> Iterator[str]:
    channel = resolved(operation["channel"], document)
    topic, kafka = escape(channel["address"]), channel["bindings"]["kafka"]
    days = kafka["topicConfiguration"]["retention.ms"] // MS_PER_DAY
    facts = [f"{kafka['partitions']} partitions", f"retained for {days} days", escape(channel["description"])]
    group = operation.get("bindings", {}).get("kafka", {}).get("groupId")
    if group:
        facts.insert(0, f"consumer group <code>{escape(group['const'])}</code>")
    yield f"<h2>{_HEADINGS[operation['action']]} <code>{topic}</code></h2>"
    yield f'<p>{_prose(operation["summary"])}</p><p class="facts">{" · ".join(facts)}</p>'
    for message in _messages(operation, document):
        yield from _message(message, document)


def _messages(operation: Json, document: Json) -> Iterator[Json]:
    for reference in operation["messages"]:
        yield resolved(reference, document)


def _message(message: Json, document: Json) -> Iterator[str]:
    name, key = escape(message["name"]), message["bindings"]["kafka"]["key"]
    yield f'<h3 id="{name}">{name}</h3><p>{_prose(message["summary"])}</p>'
    yield f'<p class="facts">{_prose(key["description"])}</p>'
    yield _table(message["payload"], document)
    for example in message["examples"][-1:]:
        text = json.dumps(example["payload"], indent=2, ensure_ascii=False)
        yield f"<details><summary>Example</summary><pre>{escape(text)}</pre></details>"


def _headers(document: Json) -> Iterator[str]:
    yield "<h2>Headers</h2><p>Every event has these Kafka headers.</p>"
    yield _table(document["components"]["schemas"]["CloudEventHeaders"], document)


def _table(schema: Json, document: Json) -> str:
    rows = [
        f"<tr><td><code>{escape(field.path)}</code></td><td>{escape(field.type)}</td>"
        f"<td>{_prose(field.description)}{'' if field.required else _OPTIONAL}</td></tr>"
        for field in fields_of(schema, document=document)
    ]
    return f"<table><tr><th>Field</th><th>Type</th><th>Description</th></tr>{''.join(rows)}</table>"


def _prose(text: str) -> str:
    """Escape a description, and set what is in backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
