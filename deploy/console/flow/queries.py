"""Reads of the page *Flow*: the topology of the event contracts, with what was scraped and what the outboxes say."""

from collections.abc import Mapping
from typing import Any

from deploy.console.access.operator import Operator
from deploy.console.flow.schemas import ConsumerView, EventsView, FlowState, FlowView, ProducerView, TopicView
from deploy.console.observation.observer import Observer
from deploy.console.services import Services
from shared.errors import NotFound
from shared.events.topics import TOPICS, Topic, consumer_of

LATE_SECONDS = 5.0
"""Age of the oldest event in an outbox, or 99th percentile of a delay, above which the flow counts as late."""
DEFAULT_EVENTS = 25


class TopicNotFound(NotFound):
    """The event contracts have no such topic."""

    code = "topic_not_found"


async def flow_state(services: Services, observer: Observer, operator: Operator) -> FlowView:
    """Return the flow as it is now. A service that does not answer has the state `unknown`."""

    async def outbox(service: str) -> dict[str, Any]:
        found: dict[str, Any] = await services.get(service, f"/v1/operations/{service}/outbox", token=operator.token)
        return found

    answers = {answer.service: answer for answer in await services.each(outbox)}
    return FlowView(
        topics=[
            TopicView(
                name=topic.name, producer=topic.producer, partitions=topic.partitions, consumers=list(topic.consumers)
            )
            for topic in TOPICS
        ],
        producers=[
            _producer(topic, answers[topic.producer].value, answers[topic.producer].error, observer) for topic in TOPICS
        ],
        consumers=[_consumer(topic, service, observer) for topic in TOPICS for service in topic.consumers],
    )


async def last_events(
    services: Services,
    operator: Operator,
    *,
    topic: str,
    key: str | None = None,
    cursor: str | None = None,
    limit: int = DEFAULT_EVENTS,
) -> EventsView:
    """Return the last events of a topic, as its producer has recorded them. Raises: TopicNotFound, Problem."""
    declared = next((each for each in TOPICS if each.name == topic), None)
    if declared is None:
        raise TopicNotFound
    path = f"/v1/operations/{declared.producer}/events"
    found = await services.get(
        declared.producer, path, token=operator.token, topic=topic, key=key or None, cursor=cursor, limit=limit
    )
    return EventsView.model_validate({"topic": topic, **found})


def _producer(topic: Topic, outbox: Mapping[str, Any] | None, error: str | None, observer: Observer) -> ProducerView:
    series = observer.series[topic.producer]
    rate = series.rate("relay_published_total", topic=topic.name)
    state, reason = _state_of_outbox(outbox, error) if outbox is None or outbox["waiting"] else ("idle", None)
    return ProducerView(
        service=topic.producer,
        topic=topic.name,
        state="flowing" if state == "idle" and rate else state,
        reason=reason,
        published_per_second=rate,
        waiting=None if outbox is None else outbox["waiting"],
        oldest_age_seconds=None if outbox is None else outbox["oldest_age_seconds"],
        delay_seconds=series.quantile("relay_delay_seconds", 0.99),
    )


def _state_of_outbox(outbox: Mapping[str, Any] | None, error: str | None) -> tuple[FlowState, str | None]:
    """Return the state of an outbox in which events wait."""
    if outbox is None:
        return "unknown", error
    age = outbox["oldest_age_seconds"] or 0.0
    if not any(lease["is_held"] for lease in outbox["leases"]):
        return "broken", "No relay leads this outbox."
    if age > LATE_SECONDS:
        return "late", f"The oldest event has waited for {age:.0f} s although a relay leads: is Kafka down?"
    return "flowing", None


def _consumer(topic: Topic, service: str, observer: Observer) -> ConsumerView:
    consumer, series = consumer_of(service, topic.name), observer.series[service]
    lag = series.latest("consumer_lag_events", consumer=consumer)
    partitions = series.latest("consumer_assigned_partitions", consumer=consumer)
    is_known = lag is not None and partitions is not None and not series.is_stale
    view = ConsumerView(
        consumer=consumer,
        service=service,
        topic=topic.name,
        state="unknown",
        reason="The service does not answer.",
        applied_per_second=series.rate("consumer_applied_total", consumer=consumer),
        lag=int(lag or 0) if is_known else None,
        partitions=int(partitions or 0) if is_known else None,
        dead_letters=int(series.latest("dead_letters_unresolved", consumer=consumer) or 0) if is_known else None,
        end_to_end_seconds=series.quantile("consumer_end_to_end_seconds", 0.99, consumer=consumer),
    )
    if not is_known:
        return view
    state, reason = _state_of_consumer(view, failed_check=observer.health[service].checks.get("consumers"))
    return view.model_copy(update={"state": state, "reason": reason})


def _state_of_consumer(view: ConsumerView, *, failed_check: str | None) -> tuple[FlowState, str | None]:
    """Return the state of a consumer whose service answers. Other processes may have the other partitions."""
    if not view.partitions:
        return "broken", "The process that answers consumes no partition."
    if failed_check is not None:
        return "broken", failed_check
    if view.dead_letters:
        return "late", f"{view.dead_letters} dead letters wait."
    if view.end_to_end_seconds is not None and view.end_to_end_seconds > LATE_SECONDS:
        return "late", f"1 % of the last minute's events took more than {view.end_to_end_seconds:.0f} s."
    return ("flowing" if view.applied_per_second else "idle"), None
