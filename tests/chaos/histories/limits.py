"""Rules about limits that hold at any moment: credit and stock are never exceeded. Pure functions, no I/O."""

from collections.abc import Iterator

from tests.chaos.histories.history import Observed, Request, Resource


def exceeded_in_samples(observed: Observed) -> Iterator[str]:
    """Find what samples of the databases have found while requests were under way."""
    yield from observed.samples


def exceeded_in_answers(observed: Observed) -> Iterator[str]:
    """Find answers that show more credit or stock taken than there is."""
    for request in observed.requests:
        if request.answer is None or not request.is_success:
            continue
        body = request.answer.body
        if "reserved_cents" in body:
            reserved, used, limit = body["reserved_cents"], body["used_cents"], body["limit_cents"]
            if reserved < 0 or used < 0 or reserved + used > limit:
                yield f"{request.resource}: {reserved} reserved and {used} used of {limit} in {request}"
        if "available" in body and not 0 <= body["available"] <= body["stock"]:
            yield f"{request.resource}: {body['available']} of {body['stock']} available in {request}"


def exceeded_in_events(observed: Observed) -> Iterator[str]:
    """Find users whose events add up to more credit than their limit, at any of the events.

    The limit is the highest that the user had in the history, so a limit has to be set before the first order.
    """
    for user, steps in observed.final.credit_steps.items():
        limit_cents = _highest_limit(observed, user)
        held: dict[str, int] = {}
        for step in steps:
            held[step.order] = held.get(step.order, 0) + step.cents
            if held[step.order] < 0:
                yield f"users {user}: event {step.sequence} releases more than order {step.order} holds"
            total_cents = sum(held.values()) - step.refunded_cents
            if total_cents > limit_cents:
                yield f"users {user}: {total_cents} cents held at event {step.sequence}, but the limit is {limit_cents}"


def _highest_limit(observed: Observed, user: str) -> int:
    resource = Resource("credit", user)
    limits = [int(observed.final.fields.get(resource, {}).get("limit_cents", 0))]
    limits += [_limit_sent(one) for one in observed.requests if one.method == "PUT" and one.resource == resource]
    return max(limits)


def _limit_sent(request: Request) -> int:
    return int(request.sent.get("limit_cents", 0))
