"""Sorts a campaign's requests, events and dead letters into lanes, one for each key, and links violations to them."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from deploy.audit.findings import Finding
from tests.chaos.histories.history import Request
from tests.chaos.history_page.events import DeadLetter, Event, Events

LANE_OF_USER = frozenset({"credit", "order list"})
"""The kinds of resources whose requests are in the lane of their user."""
MAX_MARKS = 25_000
"""Requests and events on a page; each takes 50 to 300 bytes. A campaign of 60 s has up to 10,000."""
MAX_VIOLATIONS = 100
"""Violations that a page lists of each invariant."""

_NAME = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|\bO-[0-9A-Z]{6,}|(?<=products )[\w.-]+\w|(?<=product )[\w.-]+\w")
"""A UUID, an order number, or a SKU after the word product."""


class LaneKey(NamedTuple):
    """A topic and a key; the topic is empty for requests about no single resource."""

    topic: str
    key: str


@dataclass
class Lane:
    """The requests, events and dead letters of one key."""

    key: LaneKey
    requests: list[Request] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    violations: int = 0
    """The number of violations that name the key."""

    @property
    def marks(self) -> int:
        """The number of things to draw."""
        return len(self.requests) + len(self.events) + len(self.dead_letters)


@dataclass(frozen=True)
class Violation:
    """A violation, and the lanes of the keys that it names, by their places on the page."""

    text: str
    lanes: Sequence[int]


@dataclass(frozen=True)
class Objection:
    """An invariant that does not hold."""

    name: str
    violations: Sequence[Violation]
    total: int


@dataclass(frozen=True)
class Page:
    """The lanes in their order, what the oracle objects to, and what was left out to keep the page small."""

    lanes: Sequence[Lane]
    objections: Sequence[Objection]
    omitted_lanes: int
    omitted_marks: int


def page_of(requests: Iterable[Request], events: Events, findings: Sequence[Finding]) -> Page:
    """Sort everything into lanes: first those that violations name, then those with unresolved dead letters.

    A page that would have too many marks lacks its last lanes, or the last marks of a single lane.
    """
    lanes = _lanes(requests, events)
    names = _names_of(lanes)
    named = {finding.name: [_named(text, names) for text in finding.violations] for finding in findings}
    for keys_of_all in named.values():
        for keys in keys_of_all:
            for key in keys:
                lanes[key].violations += 1
    ordered = sorted(lanes.values(), key=_rank)
    kept, omitted_marks = _within(ordered, MAX_MARKS)
    places = {lane.key: place for place, lane in enumerate(kept)}
    return Page(
        lanes=kept,
        objections=[
            Objection(
                finding.name,
                [
                    Violation(text, [places[key] for key in keys if key in places])
                    for text, keys in zip(finding.violations, named[finding.name], strict=True)
                ][:MAX_VIOLATIONS],
                total=len(finding.violations),
            )
            for finding in findings
            if finding.violations
        ],
        omitted_lanes=len(ordered) - len(kept),
        omitted_marks=omitted_marks,
    )


def _lanes(requests: Iterable[Request], events: Events) -> dict[LaneKey, Lane]:
    lanes: dict[LaneKey, Lane] = {}

    def lane(key: LaneKey) -> Lane:
        return lanes.setdefault(key, Lane(key))

    for event in events.events:
        lane(LaneKey(event.topic, event.key)).events.append(event)
    for dead_letter in events.dead_letters:
        lane(LaneKey(dead_letter.topic, dead_letter.key)).dead_letters.append(dead_letter)
    for request in requests:
        lane(_key_of(request)).requests.append(request)
    return lanes


def _key_of(request: Request) -> LaneKey:
    resource = request.resource
    if resource is None:
        return LaneKey("", f"{request.method} {request.path}" if request.path.count("/") < 3 else "other requests")
    return LaneKey("users" if resource.kind in LANE_OF_USER else resource.kind, resource.key)


def _named(text: str, names: Mapping[str, Sequence[LaneKey]]) -> list[LaneKey]:
    """Return the lanes of the keys, event ids and order numbers that a violation names."""
    return list(dict.fromkeys(key for name in _NAME.findall(text) for key in names.get(name, ())))


def _rank(lane: Lane) -> tuple[bool, bool, bool, int]:
    is_blocked = any(dead_letter.resolution is None for dead_letter in lane.dead_letters)
    return (not lane.violations, not is_blocked, not (lane.requests and lane.key.topic), -lane.marks)


def _within(lanes: Sequence[Lane], max_marks: int) -> tuple[list[Lane], int]:
    """Return the first lanes, up to so many marks, and the number of marks that this leaves out."""
    total = sum(lane.marks for lane in lanes)
    kept: list[Lane] = []
    left = max_marks
    for lane in lanes:
        if left < lane.marks and kept:
            break
        lane.requests = lane.requests[:left]
        lane.events = lane.events[: max(left - len(lane.requests), 0)]
        left -= lane.marks
        kept.append(lane)
    return kept, total - sum(lane.marks for lane in kept)


def _names_of(lanes: Mapping[LaneKey, Lane]) -> dict[str, list[LaneKey]]:
    names: dict[str, list[LaneKey]] = defaultdict(list)
    for key, lane in lanes.items():
        names[key.key].append(key)
        for event in lane.events:
            names[str(event.event_id)].append(key)
            if event.number is not None:
                names[event.number].append(key)
    return names
