"""The health of the jobs is true: an error in PgQueuer's loops shows, and a scheduled task that fails or hangs."""

import asyncio

import pytest

from shared.connection_urls import dsn_of
from shared.database import Database, Sessions
from shared.health import Unhealthy
from shared.heartbeat import MAX_FAILING_SECONDS, SUCCESS
from shared.job_health import DUE_JOB_AGE, JOBS, MAX_FAILURE_AGE_SECONDS, TASK_FAILURES, TASK_SUCCESS
from shared.jobs import JobRunner, Jobs, enqueue
from shared.measurements import Measurements
from tests.harness.databases import execute_as_owner
from tests.harness.heartbeats import let_failing_age
from tests.harness.running import running
from tests.harness.statements import execute
from tests.harness.waiting import until

EVERY_SECOND = "* * * * * *"


def runner_of(jobs: Jobs, database: Database) -> JobRunner:
    url = database.engine.url.render_as_string(hide_password=False)
    return JobRunner(jobs, dsn=dsn_of(url), sessions=database.sessions)


async def measure(runner: JobRunner, database: Database) -> None:
    await Measurements([runner.health.measurement], sessions=database.sessions).measure()


@pytest.mark.parametrize("table", ["pgqueuer", "pgqueuer_schedules"])
async def test_a_renamed_table_of_the_queue_turns_health_red_and_the_process_stays_live(
    database: Database, table: str
) -> None:
    """Health stayed green while mails, deadlines and drains stood still."""
    runner = runner_of(Jobs(), database)
    heartbeats = runner.health.heartbeats
    polls = [SUCCESS.labels(each.loop) for each in heartbeats]
    for poll in polls:
        poll.set(0)

    async def have_polled() -> bool:
        return all(poll._value.get() > 0 for poll in polls)

    async def is_failing() -> bool:
        return all(each._failing_since is not None for each in heartbeats)

    async def has_recovered() -> bool:
        return all(each._failing_since is None for each in heartbeats)

    async with running(runner):
        await until(have_polled, what="both loops poll")
        assert [each.problem() for each in heartbeats] == [None, None]
        await execute_as_owner(database.sessions, f"ALTER TABLE {table} RENAME TO away")
        await until(is_failing, what="both loops fail")
        for each in heartbeats:
            let_failing_age(each, seconds=MAX_FAILING_SECONDS + 1)
        assert [str(each.problem())[:14] for each in heartbeats] == ["no success for"] * 2
        assert not any(each.is_stuck for each in heartbeats)
        await execute_as_owner(database.sessions, f"ALTER TABLE away RENAME TO {table}")
        await until(has_recovered, what="both loops poll again")
        assert [each.problem() for each in heartbeats] == [None, None]


async def test_a_scheduled_task_that_fails_each_time_is_named(database: Database) -> None:
    jobs, is_broken = Jobs(), asyncio.Event()
    is_broken.set()

    @jobs.every(EVERY_SECOND)
    async def sweep(_sessions: Sessions) -> None:
        if is_broken.is_set():
            raise ZeroDivisionError

    runner = runner_of(jobs, database)
    failures = TASK_FAILURES.labels("sweep")
    before = failures._value.get()

    async def failed_twice() -> bool:
        failed: float = failures._value.get() - before
        return failed >= 2

    async def succeeded() -> bool:
        return runner.health._tasks["sweep"].failures == 0

    async with running(runner):
        await until(failed_twice, what="it failed twice")
        await runner.health.check_schedules()  # one minute of failures is not reported
        outcomes = runner.health._tasks["sweep"]
        outcomes.first_at -= MAX_FAILING_SECONDS
        with pytest.raises(Unhealthy, match=r"^sweep fails each time$"):
            await runner.health.check_schedules()
        is_broken.clear()
        await until(succeeded, what="it succeeded")
        await runner.health.check_schedules()
    assert TASK_SUCCESS.labels("sweep")._value.get() > 0


async def test_an_old_failure_does_not_count_because_other_processes_run_the_task() -> None:
    health = runner_of_nothing().health
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), health.running("sweep"):
            raise ZeroDivisionError
    outcomes = health._tasks["sweep"]
    outcomes.first_at -= MAX_FAILING_SECONDS
    assert outcomes.is_failing
    outcomes.last_at -= MAX_FAILURE_AGE_SECONDS
    assert not outcomes.is_failing


def runner_of_nothing() -> JobRunner:
    return JobRunner(Jobs(), dsn="", sessions=Sessions())


async def test_a_scheduled_task_that_hangs_is_overdue(database: Database) -> None:
    jobs, begun, may_end = Jobs(), asyncio.Event(), asyncio.Event()

    @jobs.every(EVERY_SECOND)
    async def sweep(_sessions: Sessions) -> None:
        begun.set()
        await may_end.wait()

    runner = runner_of(jobs, database)
    async with running(runner):
        async with asyncio.timeout(60):
            await begun.wait()
        await measure(runner, database)
        await runner.health.check_schedules()
        # Its next time has passed a while ago. It still runs, so no process begins it.
        await execute(database.sessions, "UPDATE pgqueuer_schedules SET next_run = now() - interval '75 s'")
        await measure(runner, database)
        with pytest.raises(Unhealthy, match=r"^sweep is overdue by \d+ s$"):
            await runner.health.check_schedules()
        assert runner.health._overdue["sweep"] >= 75
        may_end.set()

        async def runs_again() -> bool:
            await measure(runner, database)
            return not runner.health._overdue

        await until(runs_again, what="it runs again")
        await runner.health.check_schedules()


async def test_a_schedule_of_an_older_version_is_not_overdue(database: Database) -> None:
    jobs, begun = Jobs(), asyncio.Event()

    @jobs.every(EVERY_SECOND)
    async def sweep(_sessions: Sessions) -> None:
        begun.set()

    runner = runner_of(jobs, database)
    await execute(
        database.sessions,
        "INSERT INTO pgqueuer_schedules (expression, entrypoint, next_run)"
        " VALUES ('5 * * * *', 'sweep', now() - interval '1 day')",
    )
    async with running(runner):
        async with asyncio.timeout(60):
            await begun.wait()
        await measure(runner, database)
        await runner.health.check_schedules()


async def test_the_queue_is_measured(database: Database) -> None:
    async with database.sessions.begin() as session:
        for _ in range(3):
            await enqueue(session, "tidy", b"")
    await execute(database.sessions, "UPDATE pgqueuer SET execute_after = now() - interval '90 s'")
    await execute(database.sessions, "UPDATE pgqueuer SET status = 'failed' WHERE id = (SELECT min(id) FROM pgqueuer)")
    await measure(runner_of(Jobs(), database), database)
    assert {status: JOBS.labels(status)._value.get() for status in ("queued", "picked", "failed")} == {
        "queued": 2,
        "picked": 0,
        "failed": 1,
    }
    assert 90 <= DUE_JOB_AGE._value.get() < 150
