"""Rules about effects: each acknowledged change is there in the end, and an Idempotency-Key has had one effect.

Pure functions, no I/O.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from tests.chaos.histories.history import (
    KEY_IN_USE,
    TRY_AGAIN,
    FinalState,
    Observed,
    Outcome,
    Request,
    Resource,
    TimelineEntry,
)

STATUS_AFTER = {"cancel": "cancelled", "ship": "shipped", "deliver": "delivered"}
"""The status that each action gives to an order."""


def missing_changes(observed: Observed) -> Iterator[str]:
    """Find acknowledged changes that the final state does not have."""
    for change in observed.requests:
        if change.is_read or not change.is_success or change.resource is None:
            continue
        if (missing := _missing(change, change.resource, observed)) is not None:
            yield f"{change.resource}: {missing}, after {change}"


def differing_answers(observed: Observed) -> Iterator[str]:
    """Find keys with answers that differ: two successes, or a client error to a request sent after a success."""
    for key, requests in _by_key(observed.requests).items():
        successes = [one for one in requests if one.is_success]
        digests = {(one.answer.status, one.answer.digest) for one in successes if one.answer is not None}
        if len(digests) > 1:
            resources = ", ".join(sorted({str(one.resource) for one in successes}))
            yield f"key {key}: {len(digests)} answers ({resources}): {'; '.join(map(str, successes))}"
        for success in successes:
            for later in requests:
                if success.ended < later.started and _is_final_error(later):
                    yield f"key {key}, {success.resource}: {later}, after {success}"


def repeated_effects(observed: Observed) -> Iterator[str]:
    """Find more orders of a user, or refunds of an order, than its requests explain, each key counting once."""
    placing: dict[str, list[Request]] = defaultdict(list)
    refunding: dict[str, list[Request]] = defaultdict(list)
    for request in observed.requests:
        if (request.method, request.path) == ("POST", "/v1/orders") and request.caller:
            placing[request.caller].append(request)
        elif request.method == "POST" and request.path.endswith("/refunds") and request.resource is not None:
            refunding[request.resource.key].append(request)
    for user, requests in placing.items():
        acknowledged = {one.resource.key for one in requests if one.is_success and one.resource is not None}
        unexplained = sorted(observed.final.orders_of.get(user, frozenset()) - acknowledged)
        possible = _unanswered(requests)
        if len(unexplained) > possible:
            yield (
                f"users {user}: {len(unexplained)} orders that no answer names ({', '.join(unexplained[:5])}), "
                f"but only {possible} keys without an answer"
            )
    for order, requests in refunding.items():
        refunds = sum(entry.refunded_cents is not None for entry in observed.final.timelines.get(order, ()))
        possible = _answered(requests) + _unanswered(requests)
        if refunds > possible:
            yield f"orders {order}: {refunds} refunds by requests with {possible} keys"


def _missing(change: Request, resource: Resource, observed: Observed) -> str | None:
    """Return what the final state lacks of an acknowledged change; None if it has everything."""
    if resource.kind == "credit":
        return _wrong_limit(resource, observed)
    final, answer = observed.final, change.answer
    if resource not in final.versions:
        return "does not exist"
    version = final.versions[resource]
    if answer is not None and answer.version is not None and version < answer.version:
        return f"has version {version} in the end"
    if change.method == "PATCH" and not _is_kept(change, resource, final):
        return f"has nowhere {dict(change.sent)}"
    return _missing_entry(change, final.timelines.get(resource.key, ()))


def _missing_entry(change: Request, timeline: Sequence[TimelineEntry]) -> str | None:
    """Return what an order's timeline lacks of an action on the order."""
    action = change.path.rpartition("/")[2]
    if action in STATUS_AFTER and all(entry.status != STATUS_AFTER[action] for entry in timeline):
        return f"was never {STATUS_AFTER[action]}"
    amount_cents = change.sent.get("amount_cents")
    if action == "refunds" and all(entry.refunded_cents != amount_cents for entry in timeline):
        return f"has no refund of {amount_cents} cents"
    return None


def _wrong_limit(resource: Resource, observed: Observed) -> str | None:
    """Return what is wrong if the limit is that of no change that may have been the last one."""
    changes = [one for one in observed.requests if one.method == "PUT" and one.resource == resource]
    possible = {
        one.sent.get("limit_cents")
        for one in changes
        if one.outcome is Outcome.UNKNOWN
        or (one.is_success and not any(later.is_success and one.ended < later.started for later in changes))
    }
    limit_cents = observed.final.fields.get(resource, {}).get("limit_cents")
    return None if limit_cents in possible else f"has the limit {limit_cents} in the end"


def _is_kept(change: Request, resource: Resource, final: FinalState) -> bool:
    """Return whether the values of a change are in the final state, or in an event that has announced them."""
    return any(
        _contains(values, change) for values in [final.fields.get(resource, {}), *final.updates.get(resource, ())]
    )


def _contains(values: Any, change: Request) -> bool:
    known = {name: value for name, value in change.sent.items() if name in values}
    return bool(known) and all(values[name] == value for name, value in known.items())


def _by_key(requests: Sequence[Request]) -> dict[str, list[Request]]:
    """Return the requests with each key; a key belongs to its caller and its route."""
    found: dict[tuple[str, str, str], list[Request]] = defaultdict(list)
    for request in requests:
        if request.key is not None:
            found[request.caller, f"{request.method} {request.path}", request.key].append(request)
    return {f"{key} of {route}": requests_of for (_, route, key), requests_of in found.items()}


def _is_final_error(request: Request) -> bool:
    answer = request.answer
    if answer is None or request.outcome is not Outcome.CLIENT_ERROR:
        return False
    return answer.status not in TRY_AGAIN and answer.code != KEY_IN_USE


def _answered(requests: Sequence[Request]) -> int:
    """Return how many effects the successes have acknowledged: one for each key, or for each request without one."""
    return len({one.key or one.number for one in requests if one.is_success})


def _unanswered(requests: Sequence[Request]) -> int:
    """Return how many effects may be unacknowledged: one for each key that has an unknown outcome and no success."""
    answered = {one.key for one in requests if one.key is not None and one.is_success}
    return len(
        {one.key or one.number for one in requests if one.outcome is Outcome.UNKNOWN and one.key not in answered}
    )
