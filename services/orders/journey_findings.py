"""Reasons for which an order waits: events that were not sent or not applied, and mails that were not sent."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from services.orders import journey_advice as advice
from services.orders.journey_schemas import Cause, State, Verdict
from services.orders.models import Order, OrderStatus
from shared.operations.advice import Advice
from shared.operations.blocked_keys import advice_on_reason
from shared.operations.journey_entries import (
    AnyEntry,
    DeadLetterEntry,
    DeliveryEntry,
    EventConsumer,
    EventEntry,
    NotificationEntry,
    OrderEntry,
)
from shared.operations.journey_schemas import JourneyPart

GRACE = timedelta(seconds=10)
"""Time that each step may take: usually it takes less than a second. Then the order counts as stuck."""
MAX_QUEUED = timedelta(seconds=60)
"""Time that a mail may be due without an attempt, if many wait."""


class Finding(NamedTuple):
    """Something that holds an order up, at the time at which it should have happened."""

    time: datetime
    verdict: Verdict


@dataclass(frozen=True)
class Case:
    """An order, and everything that the services that answered know of it."""

    order: Order
    parts: Mapping[str, JourneyPart]
    entries: Sequence[AnyEntry]
    now: datetime

    @property
    def prefix(self) -> str:
        """The beginning of a reason."""
        if self.order.status is OrderStatus.PENDING:
            return "The order waits for its credit: "
        return f"The order is {self.order.status}; "

    @property
    def last_reason(self) -> str | None:
        """The reason of the order's last change."""
        changes = [entry for entry in self.entries if isinstance(entry, OrderEntry)]
        return changes[-1].details.reason if changes else None

    @property
    def has_notification(self) -> bool:
        """Return whether the customer was notified of anything."""
        return any(isinstance(entry, NotificationEntry) for entry in self.entries)


def seconds(time: timedelta) -> str:
    """Return a duration for a sentence."""
    total = int(time.total_seconds())
    if total < 120:
        return f"{max(0, total)} s"
    return f"{total // 60} min" if total < 7_200 else f"{total // 3_600} h"


def event_findings(case: Case) -> Iterator[Finding]:
    """Find events of the order that were not sent, or not applied."""
    for entry in case.entries:
        if isinstance(entry, EventEntry) and entry.details.topic in {"orders", "users"}:
            if entry.details.state == "waiting":
                yield _waiting(case, entry)
                continue
            for consumer in entry.details.consumers:
                if finding := _not_applied(case, entry, consumer):
                    yield finding


def mail_findings(case: Case) -> Iterator[Finding]:
    """Find mails that were not sent."""
    for entry in case.entries:
        if isinstance(entry, DeliveryEntry) and (verdict := _mail_verdict(case, entry)):
            yield Finding(entry.time, verdict)


def _waiting(case: Case, event: EventEntry) -> Finding:
    """Find out why an event is still in the outbox."""
    service, age = event.service, case.now - event.details.recorded_at
    relay = case.parts[service].relay
    where = f"{event.details.type} has been in the outbox of {service} for {seconds(age)}"
    cause: Cause = "relay_away"
    if not relay.has_leader:
        why, help_ = "no relay leads", advice.relay_away(service)
    elif relay.kafka_problem is not None:
        cause, why, help_ = "kafka_away", f"Kafka does not answer ({relay.kafka_problem})", advice.kafka_away(service)
    else:
        why, help_ = "a relay leads, and has not sent it yet", advice.relay_away(service)
    is_stuck = age > GRACE
    if not is_stuck and relay.has_leader and relay.kafka_problem is None:
        cause = "under_way"
    reason = f"{case.prefix}{where}; {why}."
    return _at_event(event, service=service, state=_state(is_stuck), cause=cause, reason=reason, help_=help_)


def _not_applied(case: Case, event: EventEntry, consumer: EventConsumer) -> Finding | None:
    """Find out why a consumer has not applied an event; return None if it has, or never will."""
    service = consumer.consumer.partition(".")[0]
    if consumer.outcome in {"dead_letter", "blocked"}:
        return _dead_letter(case, event, consumer, service=service)
    if consumer.outcome != "waiting":
        return None
    age = case.now - (event.details.sent_at or event.details.recorded_at)
    problem = next((each.problem for each in case.parts[service].consumers if each.consumer == consumer.consumer), None)
    is_stuck = age > GRACE
    why = f" ({problem})" if problem else ""
    what = f"{event.details.type} has been in Kafka for {seconds(age)}"
    reason = f"{case.prefix}{what}, and the consumer {consumer.consumer} has not applied it{why}."
    return _at_event(
        event,
        service=service,
        state=_state(is_stuck),
        cause="consumer_stopped" if is_stuck else "under_way",
        reason=reason,
        help_=advice.consumer_stopped(service),
    )


def _dead_letter(case: Case, event: EventEntry, consumer: EventConsumer, *, service: str) -> Finding | None:
    """Find the dead letter that an event is, or is queued behind."""
    of_key = [
        entry.details
        for entry in case.entries
        if isinstance(entry, DeadLetterEntry)
        and entry.details.consumer == consumer.consumer
        and entry.details.resolution is None
        and entry.details.reason.blocks_key
    ]
    first = min(of_key, key=lambda letter: letter.id, default=None)
    if first is None:
        return None
    what = f"the event {event.details.type} is a dead letter of {consumer.consumer}: {first.error}"
    if consumer.outcome == "blocked":
        what = (
            f"the event {event.details.type} is queued behind the dead letter {first.id} of {consumer.consumer}"
            f" ({first.type}: {first.error})"
        )
    is_retried = first.next_try_at is not None
    retried = "; it is retried by itself" if is_retried else ""
    return _at_event(
        event,
        service=service,
        state=_state(not is_retried),
        cause="dead_letter",
        reason=f"{case.prefix}{what}{retried}.",
        help_=advice_on_reason(service, first.id, first.reason),
    )


def _mail_verdict(case: Case, entry: DeliveryEntry) -> Verdict | None:
    """Return the verdict on a delivery; None if it was sent."""
    mail = entry.details
    answer = f"; the mail server answered {mail.reply_code}" if mail.reply_code else ""
    error = f"{mail.last_error}{answer}"
    match mail.status:
        case "failed":
            reason = f"the mail was not sent, and is not tried again: {error}"
            return _about_mail(case, entry, state="stuck", cause="mail_failed", reason=reason)
        case "retrying":
            age = case.now - (mail.first_due_at or entry.time)
            reason = f"the mail is not sent for {seconds(age)}, after {mail.attempts} attempts: {error}"
            return _about_mail(case, entry, state=_state(age > GRACE), cause="mail_retrying", reason=reason)
        case "deferred":
            unverified = mail.last_error == "address_unverified"
            until = "has verified the address" if unverified else "is known to notifications"
            reason = f"the mail waits until the customer {until}"
            return _about_mail(case, entry, state="in_progress", cause="waits_for_address", reason=reason)
        case "queued" | "sending":
            age = case.now - (mail.next_attempt_at or entry.time)
            if age > MAX_QUEUED:
                reason = f"the mail is due for {seconds(age)}, and no process sends it"
                return _about_mail(case, entry, state="stuck", cause="mail_retrying", reason=reason)
            return _about_mail(case, entry, state="in_progress", cause="under_way", reason="the mail is being sent")
        case _:
            return None


def _about_mail(case: Case, entry: DeliveryEntry, *, state: State, cause: Cause, reason: str) -> Verdict:
    is_problem = cause in {"mail_failed", "mail_retrying"}
    return Verdict(
        state=state,
        cause=cause,
        reason=f"{case.prefix}{reason}.",
        service="notifications",
        event_id=entry.event_id,
        since=entry.details.first_due_at or entry.time,
        advice=advice.resend_mail(entry.details.delivery_id) if is_problem else None,
    )


def _at_event(event: EventEntry, *, service: str, state: State, cause: Cause, reason: str, help_: Advice) -> Finding:
    verdict = Verdict(
        state=state,
        cause=cause,
        reason=reason,
        service=service,
        event_id=event.event_id,
        since=event.details.sent_at or event.details.recorded_at,
        advice=None if cause == "under_way" else help_,
    )
    return Finding(event.time, verdict)


def _state(is_stuck: bool) -> State:
    return "stuck" if is_stuck else "in_progress"
