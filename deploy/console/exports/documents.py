"""The documents of an export: what the pages show at the moment, and the events of the last hour."""

import asyncio
from collections.abc import Awaitable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel

from deploy.console.access.operator import Operator
from deploy.console.dead_letters.queries import dead_letters, last_actions
from deploy.console.dead_letters.schemas import Selection
from deploy.console.exports.masking import masked
from deploy.console.flow.queries import flow_state, last_events
from deploy.console.invariants.queries import invariants
from deploy.console.metrics.queries import samples_of
from deploy.console.observation.observer import Observer
from deploy.console.services import Services
from deploy.console.settings import ConsoleSettings
from deploy.console.stuck.queries import stuck_things
from deploy.console.system.queries import system_state
from deploy.local.control_client import ControlClient
from shared.errors import Problem
from shared.events.topics import TOPICS

EVENTS_PERIOD = timedelta(hours=1)
EVENTS_PER_REQUEST = 100
"""The most that the services return at once."""
MAX_EVENTS = 5_000
"""Events of a topic after which reading stops. The newest come first."""


async def documents_of(
    services: Services,
    observer: Observer,
    settings: ConsoleSettings,
    control: ControlClient | None,
    *,
    operator: Operator,
) -> dict[str, Any]:
    """Return the documents by name, masked. Of a document that cannot be read, the problem is returned."""
    pages: Mapping[str, Awaitable[BaseModel]] = {
        "system": system_state(observer, control),
        "flow": flow_state(services, observer, operator),
        "dead-letters": dead_letters(services, operator, Selection()),
        "actions": last_actions(services, operator),
        "stuck": stuck_things(services, operator),
        "invariants": invariants(settings),
    }
    found = dict(zip(pages, await asyncio.gather(*map(_document, pages.values())), strict=True))
    found["metrics"] = samples_of(observer, limit=None).model_dump(mode="json")
    found["events"] = {topic.name: await _events_of(services, operator, topic.name) for topic in TOPICS}
    return {name: masked(document, parent=name) for name, document in found.items()}


async def _document(page: Awaitable[BaseModel]) -> Any:
    try:
        return (await page).model_dump(mode="json")
    except Problem as problem:
        return {"problem": problem.detail or problem.title}


async def _events_of(services: Services, operator: Operator, topic: str) -> list[dict[str, Any]] | dict[str, str]:
    """Return the events of the last hour, newest first."""
    since, cursor = datetime.now(UTC) - EVENTS_PERIOD, None
    found: list[dict[str, Any]] = []
    try:
        while len(found) < MAX_EVENTS:
            page = await last_events(services, operator, topic=topic, cursor=cursor, limit=EVENTS_PER_REQUEST)
            found += [event.model_dump(mode="json") for event in page.items]
            oldest = found[-1]["recorded_at"] if found else None
            cursor = page.next_cursor
            if cursor is None or (oldest is not None and datetime.fromisoformat(oldest) < since):
                break
    except Problem as problem:
        return {"problem": problem.detail or problem.title}
    return [event for event in found if datetime.fromisoformat(event["recorded_at"]) >= since]
