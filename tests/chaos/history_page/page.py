"""Writes the page: one HTML file without external resources, whose script draws the lanes from the data in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from deploy.audit.findings import Finding
from tests.chaos.histories.history import Request
from tests.chaos.history_page.events import DeadLetter, Event, Events, collect
from tests.chaos.history_page.lanes import Lane, Page, page_of
from tests.chaos.history_page.record import CampaignRecord
from tests.chaos.injector import InjectedFault

MAX_TEXT = 300
"""Characters of a violation, an error or a body that the page shows."""

_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True)
class Heading:
    """The campaign that the page is about."""

    workload: str
    seed: int
    has_passed: bool


async def write_history(file: Path, heading: Heading, record: CampaignRecord, findings: Sequence[Finding]) -> None:
    """Collect the campaign's events, and write the page."""
    _write(file, render(heading, record, await collect(record), findings))


def _write(file: Path, page: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(page, encoding="utf-8")


def render(heading: Heading, record: CampaignRecord, events: Events, findings: Sequence[Finding]) -> str:
    """Return the page."""
    page = page_of(record.recorder.requests, events, findings)
    own_files = {name: Markup((Path(__file__).parent / name).read_text()) for name in ("page.css", "page.js")}  # noqa: S704 - files of this folder
    return _TEMPLATES.get_template("page.html.j2").render(
        heading=heading,
        began_at=record.recorder.began_at,
        seconds=events.ended,
        requests=len(record.recorder.requests),
        events=events,
        faults=record.faults,
        page=page,
        invariants=len(findings),
        max_text=MAX_TEXT,
        data=_data(record, events, page),
        style=own_files["page.css"],
        script=own_files["page.js"],
    )


def _data(record: CampaignRecord, events: Events, page: Page) -> dict[str, Any]:
    """Return what the script draws. Lists instead of objects keep it small; page.js names their members."""
    types = sorted({event.type for lane in page.lanes for event in lane.events})
    consumers = sorted({consumer for lane in page.lanes for event in lane.events for consumer in event.applied})
    type_numbers = {name: number for number, name in enumerate(types)}
    consumer_numbers = {name: number for number, name in enumerate(consumers)}
    return {
        "seconds": _rounded(events.ended),
        "types": types,
        "consumers": consumers,
        "faults": [_fault(fault, began=record.recorder.began) for fault in record.faults],
        "lanes": [_lane(lane, type_numbers, consumer_numbers) for lane in page.lanes],
    }


def _lane(lane: Lane, types: dict[str, int], consumers: dict[str, int]) -> dict[str, Any]:
    return {
        "topic": lane.key.topic,
        "key": lane.key.key,
        "alias": next((event.number for event in lane.events if event.number), ""),
        "violations": lane.violations,
        "requests": [_request(request) for request in lane.requests],
        "events": [_event(event, types, consumers) for event in lane.events],
        "deadLetters": [_dead_letter(dead_letter) for dead_letter in lane.dead_letters],
    }


def _fault(fault: InjectedFault, *, began: float) -> list[Any]:
    return [fault.name, fault.detail, _rounded(fault.began - began), _rounded_if_any(fault.ended, less=began)]


def _request(request: Request) -> list[Any]:
    answer = request.answer
    return [
        request.number,
        request.session,
        f"{request.method} {request.path}",
        _rounded(request.started),
        _rounded(request.ended),
        request.outcome.name,
        (request.error or "no answer") if answer is None else f"{answer.status} {answer.code}".strip(),
        None if answer is None else answer.version,
        request.if_match,
        request.key or "",
        _shown(request.sent),
        _shown(request.body),
        bool(answer and answer.is_replayed),
    ]


def _event(event: Event, types: dict[str, int], consumers: dict[str, int]) -> list[Any]:
    applied = [[consumers[consumer], _rounded(at)] for consumer, at in sorted(event.applied.items())]
    return [event.sequence, types[event.type], _rounded(event.committed), _rounded_if_any(event.sent), applied]


def _dead_letter(dead_letter: DeadLetter) -> list[Any]:
    return [
        dead_letter.consumer,
        dead_letter.sequence,
        dead_letter.type or "",
        dead_letter.reason,
        (dead_letter.error or "")[:MAX_TEXT],
        _rounded(dead_letter.at),
        _rounded_if_any(dead_letter.resolved),
        dead_letter.resolution or "",
    ]


def _shown(body: Any) -> str:
    members = (f"{name}: {len(value) if isinstance(value, list) else value}" for name, value in body.items())
    return ", ".join(members)[:MAX_TEXT]


def _rounded(seconds: float) -> float:
    return round(seconds, 3)


def _rounded_if_any(seconds: float | None, *, less: float = 0) -> float | None:
    return None if seconds is None else round(seconds - less, 3)
