"""The health of PgQueuer: the last polls of its two loops, the outcomes of scheduled tasks, the length of its queue.

PgQueuer shows none of it: an error in one of its loops ends both, the runner starts them again, and a scheduled task
that raises is only logged. So the runner gives it these queries, which note each successful poll.
"""

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pgqueuer import Queries
from pgqueuer.models import CronExpressionEntrypoint, Job, Schedule
from prometheus_client import Counter, Gauge, Histogram

from shared.health import Unhealthy
from shared.heartbeat import MAX_FAILING_SECONDS, Heartbeat
from shared.measurements import Measurement

MAX_OVERDUE_SECONDS = 60.0
"""A scheduled task that is due and has not begun for longer than this is overdue. Above the 30 seconds after which
another process takes over a task whose process has died."""

MIN_FAILURES = 2
"""Failures in a row from which on a scheduled task counts as failing: one is retried at the task's next time."""
MAX_FAILURE_AGE_SECONDS = 7_200.0
"""Time after which a failure no longer counts: twice the period of the tasks that run least often."""

TASK_SECONDS = Histogram(
    "scheduled_task_seconds", "Duration of a scheduled task's run", ["task"], buckets=(0.01, 0.1, 1, 10, 60, 600, 3600)
)
TASK_FAILURES = Counter("scheduled_task_failures_total", "Runs of a scheduled task that raised an error", ["task"])
TASK_SUCCESS = Gauge(
    "scheduled_task_success_timestamp_seconds", "End of the task's last successful run in this process", ["task"]
)
TASK_OVERDUE = Gauge(
    "scheduled_task_overdue_seconds", "Time for which a scheduled task is due without having begun", ["task"]
)
JOBS = Gauge("job_queue_jobs", "Jobs by status, counted up to 10,000", ["status"])
DUE_JOB_AGE = Gauge(
    "job_queue_oldest_due_seconds", "Age of the oldest job that is due and has not begun, 0 without one"
)

_STATUSES = ("queued", "picked", "failed")
"""The statuses in which a job is kept; `failed` jobs are held for an operator."""
_JOBS = """
    SELECT json_build_object(
        'statuses', (SELECT json_object_agg(status, jobs) FROM (
            SELECT status, count(*) AS jobs FROM (SELECT status FROM pgqueuer LIMIT :max_counted) AS j GROUP BY status
        ) AS s),
        'oldest', (SELECT extract(epoch FROM clock_timestamp() - min(execute_after)) FROM (
            SELECT execute_after FROM pgqueuer
            WHERE status = 'queued' AND execute_after <= clock_timestamp() LIMIT :max_counted
        ) AS due),
        'overdue', (SELECT json_agg(json_build_array(
            entrypoint, expression, extract(epoch FROM clock_timestamp() - next_run)
        )) FROM pgqueuer_schedules WHERE next_run <= clock_timestamp())
    )
"""


@dataclass
class TaskOutcomes:
    """The failures of a scheduled task in this process since its last success here."""

    failures: int = 0
    first_at: float = 0.0
    last_at: float = 0.0

    @property
    def is_failing(self) -> bool:
        """Return whether it fails each time. After a while without a run, other processes have run it."""
        now = time.monotonic()
        is_lasting = self.failures >= MIN_FAILURES and now - self.first_at > MAX_FAILING_SECONDS
        return is_lasting and now - self.last_at < MAX_FAILURE_AGE_SECONDS

    def failed(self) -> None:
        """Note a failure."""
        self.last_at = time.monotonic()
        self.first_at = self.first_at if self.failures else self.last_at
        self.failures += 1

    def succeeded(self) -> None:
        """Note a success."""
        self.failures = 0


@dataclass
class ObservedQueries(Queries):
    """PgQueuer's queries, which note the polls of its two loops."""

    health: "JobHealth | None" = None

    async def dequeue(self, *arguments: Any, **options: Any) -> list[Job]:
        """Take jobs from the queue."""
        jobs = await super().dequeue(*arguments, **options)
        if self.health is not None:
            self.health.queue.succeeded()
        return jobs

    async def fetch_schedule(self, *arguments: Any, **options: Any) -> list[Schedule]:
        """Take the scheduled tasks that are due."""
        schedules = await super().fetch_schedule(*arguments, **options)
        if self.health is not None:
            self.health.scheduler.succeeded()
        return schedules


class JobHealth:
    """The health of the jobs of one process."""

    def __init__(self) -> None:
        self.queue = Heartbeat("job_queue")
        self.scheduler = Heartbeat("job_scheduler")
        self._tasks: dict[str, TaskOutcomes] = {}
        self._schedules: frozenset[tuple[str, str]] = frozenset()
        self._overdue: dict[str, float] = {}
        self.measurement = Measurement("jobs", _JOBS, self._publish)

    @property
    def heartbeats(self) -> tuple[Heartbeat, Heartbeat]:
        """The heartbeats of PgQueuer's loops."""
        return self.queue, self.scheduler

    def scheduled(self, schedules: Collection[CronExpressionEntrypoint]) -> None:
        """Note which schedules this process has. The database may also have those of older versions."""
        self._schedules = frozenset((one.entrypoint, one.expression) for one in schedules)

    def failed(self) -> None:
        """Note that PgQueuer has ended with an error."""
        self.queue.failed()
        self.scheduler.failed()

    def beat(self) -> None:
        """Note that PgQueuer is about to connect."""
        self.queue.beat()
        self.scheduler.beat()

    @contextmanager
    def running(self, task: str) -> Iterator[None]:
        """Note how a run of a scheduled task ends, and how long it takes."""
        outcomes = self._tasks.setdefault(task, TaskOutcomes())
        try:
            with TASK_SECONDS.labels(task).time():
                yield
        except Exception:
            TASK_FAILURES.labels(task).inc()
            outcomes.failed()
            raise
        TASK_SUCCESS.labels(task).set_to_current_time()
        outcomes.succeeded()

    async def check_schedules(self) -> None:
        """Check that scheduled tasks begin in time and succeed. Raises: Unhealthy."""
        problems = [f"{task} is overdue by {seconds:.0f} s" for task, seconds in sorted(self._overdue.items())]
        problems += [f"{task} fails each time" for task, outcomes in sorted(self._tasks.items()) if outcomes.is_failing]
        if problems:
            raise Unhealthy(", ".join(problems))

    def _publish(self, found: dict[str, Any]) -> None:
        statuses = found["statuses"] or {}
        for status in _STATUSES:
            JOBS.labels(status).set(statuses.get(status, 0))
        DUE_JOB_AGE.set(found["oldest"] or 0)
        overdue = {task: 0.0 for task, _ in self._schedules}
        for task, expression, seconds in found["overdue"] or []:
            if (task, expression) in self._schedules:
                overdue[task] = max(overdue[task], seconds)
        for task, seconds in overdue.items():
            TASK_OVERDUE.labels(task).set(seconds)
        self._overdue = {task: seconds for task, seconds in overdue.items() if seconds > MAX_OVERDUE_SECONDS}
