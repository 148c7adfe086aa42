"""Rules about versions: what a read has to see, and which changes exclude each other. Pure functions, no I/O.

Users, orders and credit are read from one database, so their reads are linearizable. A single product is read through a
cache that a change invalidates before its answer. A cached value may be outdated until it expires in two cases: the
cache was unavailable to the service during the change, or the change was never acknowledged.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from tests.chaos.histories.history import Interval, Observed, Outcome, Request, Resource

CACHED = "products"
"""The kind of the resources that are read through the cache."""


def stale_reads(observed: Observed) -> Iterator[str]:
    """Find reads that began after the answer to a change, and show an older version, or nothing."""
    for resource, requests in by_resource(observed.requests).items():
        changes = [one for one in requests if not one.is_read and _version(one) is not None]
        for read in (one for one in requests if one.is_read):
            seen = _version_shown(read)
            missed = [
                change
                for change in changes
                if change.ended < read.started
                and seen is not None
                and seen < (_version(change) or 0)
                and not _may_be_cached(observed, resource, change, read)
            ]
            if missed:
                yield f"{resource}: {read}, after {_newest(missed)}"


def orders_missing_in_lists(observed: Observed) -> Iterator[str]:
    """Find complete lists of a user's orders that lack one whose 201 ended before."""
    placed = [one for one in observed.requests if (one.method, one.path) == ("POST", "/v1/orders") and one.is_success]
    for read in observed.requests:
        if not (read.is_read and read.path == "/v1/orders" and read.answer and read.answer.body.get("is_complete")):
            continue
        listed = read.answer.body["ids"]
        for order in placed:
            is_before = order.caller == read.caller and order.ended < read.started
            if is_before and order.resource is not None and order.resource.key not in listed:
                yield f"{order.resource}: missing in {read}, after {order}"


def backward_reads(observed: Observed) -> Iterator[str]:
    """Find reads that show an older version than a read that had ended before they began."""
    for resource, requests in by_resource(observed.requests).items():
        reads = [one for one in requests if one.is_read]
        unacknowledged = [one for one in requests if not one.is_read and one.outcome is Outcome.UNKNOWN]
        for read in reads:
            shown = _version_shown(read)
            newer = [
                one for one in reads if one.ended < read.started and shown is not None and shown < (_version(one) or 0)
            ]
            if newer and not _may_have_been_cached(observed, resource, _newest(newer), read, unacknowledged):
                yield f"{resource}: {read}, after {_newest(newer)}"


def lost_updates(observed: Observed) -> Iterator[str]:
    """Find changes that expected the same version and have both succeeded, and any two that made the same version."""
    for resource, requests in by_resource(observed.requests).items():
        expected: dict[int, list[Request]] = defaultdict(list)
        made: dict[int, list[Request]] = defaultdict(list)
        for change in requests:
            version = _version(change)
            if change.has_changed and version is not None:
                made[version].append(change)
                if change.if_match is not None:
                    expected[change.if_match].append(change)
        yield from _several(resource, expected, "changes of version {} have succeeded")
        yield from _several(resource, made, "changes have made version {}")


def by_resource(requests: Sequence[Request]) -> dict[Resource, list[Request]]:
    """Return the requests of each resource."""
    found: dict[Resource, list[Request]] = defaultdict(list)
    for request in requests:
        if (resource := request.resource) is not None:
            found[resource].append(request)
    return found


def _several(resource: Resource, changes: Mapping[int, Sequence[Request]], sentence: str) -> Iterator[str]:
    for version, found in changes.items():
        if len(found) > 1:
            yield f"{resource}: {len(found)} {sentence.format(version)}: {'; '.join(map(str, found))}"


def _version(request: Request) -> int | None:
    return request.answer.version if request.answer is not None and request.is_success else None


def _version_shown(read: Request) -> int | None:
    """Return the version that a read shows, 0 if it shows that there is nothing, and None if it shows neither."""
    if read.outcome is Outcome.CLIENT_ERROR and read.answer is not None and read.answer.status == 404:
        return 0
    return _version(read)


def _newest(requests: Sequence[Request]) -> Request:
    return max(requests, key=lambda one: _version(one) or 0)


def _may_be_cached(observed: Observed, resource: Resource, change: Request, read: Request) -> bool:
    """Return whether the change may have failed to invalidate a value that is still cached when the read begins."""
    return (
        resource.kind == CACHED
        and read.started <= change.ended + observed.cache_seconds
        and any(outage.meets(change.started, change.ended) for outage in observed.cache_outages)
    )


def _may_have_been_cached(
    observed: Observed, resource: Resource, newer: Request, read: Request, unacknowledged: Sequence[Request]
) -> bool:
    """Return whether the newer version may have been read past the cache, and the older one from it."""
    oldest = read.started - observed.cache_seconds
    if resource.kind != CACHED or newer.ended < oldest:
        return False
    # The service may still carry a change out when its client has given up.
    changes = [Interval(one.started, one.ended + observed.cache_seconds) for one in unacknowledged]
    return any(interval.meets(oldest, read.ended) for interval in [*observed.cache_outages, *changes])
