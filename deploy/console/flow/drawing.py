"""The picture of the flow: producers above their topics, consumers below them, as boxes and arrows of an SVG.

The coordinates are computed here and the template draws them: the pages' policy allows no inline styles, and the
picture needs no script.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from deploy.console.flow.schemas import ConsumerView, FlowView, ProducerView

WIDTH = 1160
BOX_WIDTH = 190
BOX_HEIGHT = 56
_ROWS = {"producer": 8, "topic": 170, "consumer": 332}


@dataclass(frozen=True)
class Box:
    """A service, a topic or a consumer; `x` and `y` are those of its upper left corner."""

    name: str
    detail: str
    x: float
    y: float
    link: str | None
    state: str = "idle"


@dataclass(frozen=True)
class Arrow:
    """An arrow from the lower edge of one box to the upper edge of another, with up to three short lines of text."""

    x1: float
    y1: float
    x2: float
    y2: float
    state: str
    labels: Sequence[str]


@dataclass(frozen=True)
class Drawing:
    """All boxes and arrows."""

    boxes: Sequence[Box]
    arrows: Sequence[Arrow]
    width: int = WIDTH
    height: int = _ROWS["consumer"] + BOX_HEIGHT + 8


def draw(flow: FlowView) -> Drawing:
    """Lay out the flow."""
    services = list(dict.fromkeys(topic.producer for topic in flow.topics))
    producers = {
        name: Box(name, "service", x, _ROWS["producer"], f"/#service-{name}")
        for name, x in zip(services, _spread(len(services)), strict=True)
    }
    topics = {
        topic.name: Box(topic.name, f"topic, {topic.partitions} partitions", x, _ROWS["topic"], f"/flow/{topic.name}")
        for topic, x in zip(flow.topics, _spread(len(flow.topics)), strict=True)
    }
    consumers = {
        each.consumer: Box(each.service, f"consumer of {each.topic}", x, _ROWS["consumer"], None, each.state)
        for each, x in zip(flow.consumers, _spread(len(flow.consumers)), strict=True)
    }
    arrows = [
        _arrow(producers[each.service], topics[each.topic], each.state, _published(each)) for each in flow.producers
    ]
    arrows += [
        _arrow(topics[each.topic], consumers[each.consumer], each.state, _applied(each)) for each in flow.consumers
    ]
    return Drawing([*producers.values(), *topics.values(), *consumers.values()], arrows)


def _spread(count: int) -> list[float]:
    """Return the left edges of boxes that share the width."""
    share = WIDTH / count
    return [share * position + (share - BOX_WIDTH) / 2 for position in range(count)]


def _arrow(start: Box, end: Box, state: str, labels: Sequence[str]) -> Arrow:
    middle = BOX_WIDTH / 2
    return Arrow(start.x + middle, start.y + BOX_HEIGHT, end.x + middle, end.y, state, labels)


def _published(each: ProducerView) -> list[str]:
    if each.waiting is None:
        return ["unknown"]
    age = [f"oldest {each.oldest_age_seconds:.1f} s"] if each.oldest_age_seconds else []
    return [f"{each.published_per_second:.1f}/s", f"outbox {each.waiting}", *age]


def _applied(each: ConsumerView) -> list[str]:
    if each.lag is None:
        return ["unknown"]
    dead = [f"{each.dead_letters} dead letters"] if each.dead_letters else []
    return [f"{each.applied_per_second:.1f}/s", f"lag {each.lag}", *dead]
