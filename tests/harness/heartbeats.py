"""Heartbeats that are as old as a test needs them, without its waiting."""

from shared.heartbeat import Heartbeat


def let_beat_age(heartbeat: Heartbeat, *, seconds: float) -> None:
    """Make the last sign of life older."""
    heartbeat._beat_at -= seconds


def let_failing_age(heartbeat: Heartbeat, *, seconds: float) -> None:
    """Make the first of the failures since the last success older. The last failure stays as it is."""
    assert heartbeat._failing_since is not None, "the loop does not fail"
    heartbeat._failing_since -= seconds
