"""The verdict on an order: done, in progress or stuck, why, and what helps.

The rules look for everything that holds the order up, in any service. What happened first is the cause: the rest waits
for it.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from services.orders import journey_advice as advice
from services.orders.journey_findings import GRACE, Case, Finding, event_findings, mail_findings, seconds
from services.orders.journey_parts import Unavailable
from services.orders.journey_schemas import Verdict
from services.orders.models import Order, OrderStatus
from shared.operations.journey_entries import AnyEntry, CreditEntry, DeadlineEntry, EventEntry
from shared.operations.journey_schemas import JourneyPart

_CREDIT_REASONS = {
    "limit_exceeded": "the customer's credit limit does not cover it",
    "currency_mismatch": "the customer's credit is in another currency",
    "user_inactive": "the customer's account is not active",
    "user_unknown": "the customer's account is unknown",
}


def verdict_of(
    order: Order, parts: Mapping[str, JourneyPart | Unavailable], entries: Sequence[AnyEntry], *, now: datetime
) -> Verdict:
    """Return the verdict on an order from what all services report."""
    case = Case(order, {name: part for name, part in parts.items() if isinstance(part, JourneyPart)}, entries, now)
    away = [part for part in parts.values() if isinstance(part, Unavailable)]
    findings = [*event_findings(case), *mail_findings(case), *_unavailable(case, away), *_overdue(case)]
    for state in ("stuck", "in_progress"):
        found = [each for each in findings if each.verdict.state == state]
        if found:
            return min(found, key=lambda each: each.time).verdict
    return _pending_without_cause(case) if order.status is OrderStatus.PENDING else _final(case)


def _unavailable(case: Case, away: Sequence[Unavailable]) -> Iterator[Finding]:
    """Find services that do not answer. A pending order needs users."""
    order = case.order
    for service, reason in away:
        is_needed = order.status is OrderStatus.PENDING and service == "users"
        is_stuck = is_needed and case.now - order.created_at > GRACE
        consequence = "the order waits for its credit" if is_needed else "whether its part is done is unknown"
        yield Finding(
            order.created_at,
            Verdict(
                state="stuck" if is_stuck else "in_progress",
                cause="service_unavailable",
                reason=f"{service} does not answer ({reason}), and {consequence}.",
                service=service,
                event_id=None,
                since=None,
                advice=advice.service_unavailable(service),
            ),
        )


def _overdue(case: Case) -> Iterator[Finding]:
    """Find an order that is pending past its deadline: a job should have cancelled it."""
    order = case.order
    late = case.now - order.deadline
    if order.status is not OrderStatus.PENDING or late.total_seconds() <= 0:
        return
    entry = next((each for each in case.entries if isinstance(each, DeadlineEntry)), None)
    error = entry.details.error if entry else None
    why = f"could not be cancelled: {error}" if error else "was not cancelled: the job that does it has not run"
    yield Finding(
        order.deadline,
        Verdict(
            state="stuck" if error or late > GRACE else "in_progress",
            cause="overdue",
            reason=f"The order is {seconds(late)} past its deadline and {why}.",
            service="orders",
            event_id=None,
            since=order.deadline,
            advice=advice.cancel_overdue(order.id),
        ),
    )


def _pending_without_cause(case: Case) -> Verdict:
    """Return the verdict on a pending order that nothing known holds up."""
    order = case.order
    is_known = any(isinstance(each, EventEntry) and each.details.type == "order.created" for each in case.entries)
    is_late = case.now - order.created_at > GRACE
    reason = (
        "order.created was applied, and users has not replied yet" if is_known else "order.created is no longer kept"
    )
    return Verdict(
        state="stuck" if is_late else "in_progress",
        cause="unknown" if is_late else "under_way",
        reason=f"The order waits for its credit: {reason}.",
        service="users",
        event_id=None,
        since=order.created_at,
        advice=advice.look_at(order.id) if is_late else None,
    )


def _final(case: Case) -> Verdict:
    """Return the verdict on an order for which nothing is to happen by itself any more."""
    order = case.order
    nothing = {"service": None, "event_id": None, "since": None}
    refused = next(
        (each for each in case.entries if isinstance(each, CreditEntry) and each.details.change == "refused"), None
    )
    if order.status is OrderStatus.REJECTED:
        reason = refused.details.reason if refused else case.last_reason
        why = _CREDIT_REASONS.get(reason or "", reason or "its credit was refused")
        return Verdict(
            state="done",
            cause="credit_refused",
            reason=f"The order was rejected: {why} ({reason}).",
            service="users",
            event_id=refused.event_id if refused else None,
            since=refused.time if refused else None,
            advice=advice.raise_limit(order.user_id) if reason == "limit_exceeded" else None,
        )
    if order.status is OrderStatus.CANCELLED:
        why = {"deadline": "its credit was not decided in time", "customer": "by the customer"}.get(
            case.last_reason or "", case.last_reason or "by request"
        )
        return Verdict(
            state="done", cause="cancelled", reason=f"The order was cancelled: {why}.", advice=None, **nothing
        )
    told = "the customer was told" if case.has_notification else "every event was applied"
    return Verdict(
        state="done",
        cause="completed",
        reason=f"The order is {order.status}, and {told}.",
        advice=None,
        **nothing,
    )
