"""Response bodies of the page *Flow* and its API."""

from typing import Literal

from shared.http.bodies import ResponseBody

FlowState = Literal["idle", "flowing", "late", "broken", "unknown"]
"""`late`: events wait for longer than a few seconds, or are blocked. `broken`: nobody moves them."""


class ProducerView(ResponseBody):
    """The way of a service's events from its outbox to one of its topics."""

    service: str
    topic: str
    state: FlowState
    reason: str | None
    """The cause in plain words, if the state is `late`, `broken` or `unknown`."""
    published_per_second: float
    waiting: int | None
    """Events in the outbox, of all topics of the service; null if the service does not answer."""
    oldest_age_seconds: float | None
    """Age of the oldest event in the outbox; null if none waits."""
    delay_seconds: float | None
    """99th percentile of the last minute, from the event's time to Kafka's acknowledgement; null without events."""


class ConsumerView(ResponseBody):
    """The way of events from a topic into a service's database."""

    consumer: str
    service: str
    topic: str
    state: FlowState
    reason: str | None
    applied_per_second: float
    lag: int | None
    """Records that are not applied yet; null if the service does not answer."""
    partitions: int | None
    dead_letters: int | None
    """Dead letters that wait."""
    end_to_end_seconds: float | None
    """99th percentile of the last minute, from the event's time to the commit of its effects; null without events."""


class TopicView(ResponseBody):
    """A topic of the event contracts."""

    name: str
    producer: str
    partitions: int
    consumers: list[str]
    """The names of the services that consume it. Outside subscribers are not known here."""


class FlowView(ResponseBody):
    """The flow of events through the system."""

    topics: list[TopicView]
    producers: list[ProducerView]
    consumers: list[ConsumerView]


class EventView(ResponseBody):
    """An event that a service has recorded. Personal data in `data` is encrypted, as it is stored and sent."""

    event_id: str
    state: str
    type: str | None
    topic: str | None
    key: str | None
    sequence: int | None
    recorded_at: str | None
    sent_at: str | None
    partition: int | None
    offset: int | None
    trace_id: str | None
    data: dict[str, object] | None


class EventsView(ResponseBody):
    """The last events of a topic, newest first."""

    topic: str
    items: list[EventView]
    next_cursor: str | None
