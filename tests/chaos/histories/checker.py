"""The checker: judges a history of requests by the real-time order of their beginnings and ends. No I/O."""

from collections.abc import Callable, Iterator, Mapping

from deploy.audit.findings import Finding
from tests.chaos.histories import effects, limits, versions
from tests.chaos.histories.history import Observed

FindViolations = Callable[[Observed], Iterator[str]]

READS_SEE_CHANGES = "A read that begins after a change was acknowledged sees it"
LISTS_HAVE_ORDERS = "A list of orders has every order that was acknowledged before"
NEVER_BACKWARDS = "Of two reads that do not overlap, the later one shows no older version"
ONE_CHANGE_PER_VERSION = "Of the changes that expect one version, one succeeds"
CHANGES_STAY = "Every acknowledged change is there in the end"
ONE_ANSWER_PER_KEY = "The answers of an Idempotency-Key agree"
ONE_EFFECT_PER_KEY = "An Idempotency-Key has one effect"
NEVER_EXCEEDED = "Credit and stock are not exceeded at any moment"
ANSWERS_IN_LIMITS = "No answer shows more credit or stock taken than there is"
EVENTS_IN_LIMITS = "Along each user's events, the credit held stays within the limit"

RULES: Mapping[str, FindViolations] = {
    READS_SEE_CHANGES: versions.stale_reads,
    LISTS_HAVE_ORDERS: versions.orders_missing_in_lists,
    NEVER_BACKWARDS: versions.backward_reads,
    ONE_CHANGE_PER_VERSION: versions.lost_updates,
    CHANGES_STAY: effects.missing_changes,
    ONE_ANSWER_PER_KEY: effects.differing_answers,
    ONE_EFFECT_PER_KEY: effects.repeated_effects,
    NEVER_EXCEEDED: limits.exceeded_in_samples,
    ANSWERS_IN_LIMITS: limits.exceeded_in_answers,
    EVENTS_IN_LIMITS: limits.exceeded_in_events,
}


def check(observed: Observed) -> list[Finding]:
    """Return every rule with its violations."""
    return [Finding(name, list(find(observed))) for name, find in RULES.items()]
