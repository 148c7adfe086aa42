"""A loop counts as failing from its first failed round until a round succeeds."""

from shared.heartbeat import MAX_FAILING_SECONDS, Heartbeat
from tests.harness.heartbeats import let_failing_age


def failed_before(seconds: float) -> Heartbeat:
    """Return the heartbeat of a loop whose only failure was that long ago."""
    heartbeat = Heartbeat("test")
    heartbeat.failed()
    let_failing_age(heartbeat, seconds=seconds)
    heartbeat._failed_at -= seconds
    return heartbeat


def test_a_failure_after_a_recent_one_prolongs_it() -> None:
    heartbeat = failed_before(MAX_FAILING_SECONDS - 1)
    heartbeat.failed()
    assert heartbeat.failing_seconds > MAX_FAILING_SECONDS - 2


def test_a_failure_long_after_the_last_one_begins_anew() -> None:
    """A consumer that had only ignored events after a failure was degraded at once by the next one."""
    heartbeat = failed_before(3600)
    heartbeat.failed()
    assert heartbeat.problem() is None
    assert heartbeat.failing_seconds < MAX_FAILING_SECONDS
