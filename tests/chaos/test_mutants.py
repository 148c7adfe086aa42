"""The oracle finds each mistake, and names the invariant that it violates."""

from collections.abc import Callable

import pytest

from tests.chaos.consumer_group import remove_members
from tests.chaos.environment import Environment
from tests.chaos.mutants import MUTANTS, SKIP_LOCKED_ROWS
from tests.chaos.observer import observe, wait_for_outbox, wait_for_sent
from tests.chaos.oracle import ALL_APPLIED, ALL_SENT, APPLIED_ONCE, SENT_IN_ORDER, check, violated
from tests.chaos.worker_pool import ROLES, Worker

OPERATIONS = 150
KILLED_AT = {
    "delete_before_ack": (("writer", "relay"), "relay.published=kill@3", ALL_SENT),
    "offsets_before_commit": (("consumer",), "consumer.handled=kill@3", ALL_APPLIED),
    "no_inbox": (("consumer",), "consumer.db_committed=kill@3", APPLIED_ONCE),
    "acknowledge-before-applying": (("consumer",), "consumer.handled=kill@3", ALL_APPLIED),
    "publish-after-commit": (("writer", "relay"), "api.committed=kill@3", ALL_SENT),
}
"""The roles of the process that runs each mutant, the failpoint at which it is killed, and the invariant that it
violates then. The other roles run beside it: a killed relay would send the lost events again."""


@pytest.mark.parametrize("mutant", KILLED_AT)
async def test_a_mutant_that_is_killed_at_its_weak_spot_is_found(
    environment: Environment, start: Callable[..., Worker], mutant: str
) -> None:
    roles, failpoint, invariant = KILLED_AT[mutant]
    other = start(*(role for role in ROLES if role not in roles), seed=3, operations=OPERATIONS)
    killed = start(*roles, seed=1, operations=None, failpoints=failpoint, mutant=mutant)
    assert await killed.exits_within(60)
    await remove_members(environment.kafka, environment.group)
    successor = start(*roles, seed=2, operations=15, mutant=mutant)
    assert await (successor if "writer" in roles else other).finishes_within(60)
    assert invariant in violated(check(await observe(environment)))


@pytest.mark.parametrize("mutant", ["skip_locked", None])
async def test_a_suspended_relay_sends_out_of_order_without_a_lease_and_in_order_with_one(
    environment: Environment, start: Callable[..., Worker], mutant: str | None
) -> None:
    writer = start("writer", seed=1, operations=OPERATIONS)
    assert await writer.finishes_within(60)
    suspended = start("relay", seed=2, failpoints="relay.fetched=stop@1", mutant=mutant)
    assert await suspended.is_suspended_within(60)
    start("relay", seed=3, mutant=mutant)
    await wait_for_outbox(environment, max_rows=SKIP_LOCKED_ROWS)
    suspended.resume()
    start("consumer", seed=4)
    violations = violated(check(await observe(environment)))
    assert SENT_IN_ORDER in violations if mutant else violations == {}


@pytest.mark.parametrize("mutant", ["hasty_watermark", None])
async def test_a_suspended_writer_commits_an_event_below_moved_ones_and_only_a_hasty_relay_misses_it(
    environment: Environment, start: Callable[..., Worker], mutant: str | None
) -> None:
    start("relay", seed=1, mutant=mutant)
    suspended = start("writer", seed=2, operations=1, workload="accounts", failpoints="api.before_commit=stop@1")
    assert await suspended.is_suspended_within(60)
    # Some of its operations wait for the accounts of the suspended one; the others commit higher ids.
    other = start("writer", seed=3, operations=OPERATIONS, workload="accounts")
    await wait_for_sent(environment, events=OPERATIONS // 10)
    suspended.resume()
    assert await suspended.finishes_within(60)
    assert await other.finishes_within(60)
    start("consumer", seed=4)
    observed = await (observe(environment, within_seconds=10, late_seconds=1) if mutant else observe(environment))
    assert (ALL_SENT in violated(check(observed))) == (mutant is not None)


def test_every_mutant_is_tested() -> None:
    assert {*KILLED_AT, "skip_locked", "hasty_watermark"} == set(MUTANTS)
