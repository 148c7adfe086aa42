"""A loop fails as long as its rounds do, one after the other."""

from shared.heartbeat import MAX_FAILING_SECONDS, Heartbeat


def failed_before(seconds: float) -> Heartbeat:
    """Return the heartbeat of a loop whose only failure was that long ago."""
    heartbeat = Heartbeat("test")
    heartbeat.failed()
    assert heartbeat._failing_since is not None
    heartbeat._failing_since -= seconds
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
