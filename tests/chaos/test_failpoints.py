"""A process is killed at every failpoint of the messaging and restarted, and every invariant holds."""

import signal
from collections.abc import Callable

import pytest

from shared.messaging.failpoints import NAMES
from tests.chaos.consumer_group import remove_members
from tests.chaos.environment import Environment
from tests.chaos.observer import observe
from tests.chaos.oracle import check, violated
from tests.chaos.worker_pool import ROLES, Worker

MESSAGING_FAILPOINTS = [name for name in NAMES if not name.startswith(("delivery.", "topics."))]
FURTHER_OPERATIONS = 15


@pytest.mark.parametrize("nth", [1, 3])
@pytest.mark.parametrize("name", MESSAGING_FAILPOINTS)
async def test_no_event_is_lost_repeated_or_reordered_after_a_kill_at_any_failpoint(
    environment: Environment, start: Callable[..., Worker], name: str, nth: int
) -> None:
    killed = start(*ROLES, seed=nth, operations=None, failpoints=f"{name}=kill@{nth}")
    assert await killed.exits_within(60), f"{name} was not passed {nth} times"
    assert killed.exit_status == -signal.SIGKILL
    await remove_members(environment.kafka, environment.group)
    successor = start(*ROLES, seed=100 + nth, operations=FURTHER_OPERATIONS)
    assert await successor.finishes_within(60)
    observed = await observe(environment)
    assert violated(check(observed)) == {}
    assert len(observed.effects) >= FURTHER_OPERATIONS
