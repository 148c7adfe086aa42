"""Failpoints: named places in the code at which a test can kill, stop, delay or fail the process.

Nothing that a service is deployed with can arm one: what runs there, and the specifications that name it, are in
tests/chaos/failpoints.py, which no image contains. An unarmed failpoint costs one look-up.
"""

from collections.abc import Callable, Mapping

NAMES = (
    "api.before_commit",
    "api.committed",
    "relay.fetched",
    "relay.published",
    "relay.acked",
    "relay.moved",
    "consumer.received",
    "consumer.handled",
    "consumer.db_committed",
    "consumer.acked",
    "delivery.begun",
    "delivery.sent",
    "delivery.recorded",
    "topics.leases_taken",
    "topics.consumers_caught_up",
    "topics.partitions_added",
    "topics.partitions_pinned",
)
"""All failpoints: they surround each step that a guarantee depends on."""

_actions: dict[str, Callable[[str], None]] = {}


def failpoint(name: str) -> None:
    """Mark a place. Does nothing unless a test has armed it in this process."""
    if _actions and (action := _actions.get(name)) is not None:
        action(name)


def arm(actions: Mapping[str, Callable[[str], None]]) -> None:
    """Run an action, with the place's name, at each pass of its place in this process."""
    _actions.update(actions)
