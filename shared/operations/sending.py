"""The operations that publish events again: resends of sent events, and republications of current state."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import Sessions
from shared.error_descriptions import describe_error
from shared.errors import Problem
from shared.jobs import Jobs, enqueue
from shared.messaging.outbox.republish import PAGE_ROWS, Republishable, count_aggregates, republish_page
from shared.messaging.outbox.resend import PAGE_ROWS as RESEND_PAGE_ROWS
from shared.messaging.outbox.resend import ResendPlan, next_page, resend_page
from shared.operations import runs
from shared.operations.runs import MAX_WAITING_EVENTS, OnProgress, Operation, Step

RESEND = "resend"
REPUBLICATION = "republication"
JOB = "operation"
SECONDS_PER_JOB = 20.0
"""Time for which one job runs an operation before it enqueues the next job, so that a process can stop in time."""


class NotRepublished(Problem):
    """The service does not republish this type."""

    status = 422
    code = "not_republished"


class KeyInvalid(Problem):
    """The key is not one of this type of aggregate."""

    status = 422
    code = "key_invalid"


@dataclass(frozen=True)
class Sending:
    """Runs one service's resends and republications: so many aggregates, or events, at a time."""

    republished: Sequence[Republishable] = ()
    page_rows: int = PAGE_ROWS
    resend_page_rows: int = RESEND_PAGE_ROWS
    max_waiting_events: int = MAX_WAITING_EVENTS

    async def run(
        self,
        sessions: Sessions,
        operation_id: UUID,
        *,
        seconds: float | None = None,
        on_progress: OnProgress | None = None,
    ) -> Operation | None:
        """Run an operation as `runs.run` does."""
        return await runs.run(
            sessions,
            operation_id,
            take_step=self._take_step,
            seconds=seconds,
            max_waiting_events=self.max_waiting_events,
            on_progress=on_progress,
        )

    async def begin_republication(
        self,
        session: AsyncSession,
        *,
        types: Sequence[str],
        since: datetime | None,
        actor: str,
        keys: Sequence[str] = (),
    ) -> Operation:
        """Record a republication of these types, or of every type if none is given. `keys` limits it to aggregates.

        Raises: NotRepublished, KeyInvalid.
        """
        aggregates = self._aggregates(types)
        try:
            total = sum([await count_aggregates(session, each, since=since, keys=keys) for each in aggregates])
        except ValueError as error:
            raise KeyInvalid(str(error)) from error
        parameters = {
            "types": [each.name for each in aggregates],
            "since": since.isoformat() if since else None,
            "keys": list(keys),
        }
        return await runs.begin(session, kind=REPUBLICATION, actor=actor, parameters=parameters, total=total)

    async def _take_step(self, session: AsyncSession, operation: Operation) -> Step:
        if operation.kind == RESEND:
            return await self._resend(session, operation)
        return await self._republish(session, operation)

    async def _resend(self, session: AsyncSession, operation: Operation) -> Step:
        plan = ResendPlan.from_parameters(operation.parameters)
        after_id = operation.position["after_id"] if operation.position else 0
        page = await next_page(session, plan, after_id=after_id, done=operation.done, page_rows=self.resend_page_rows)
        sent = await resend_page(session, plan, after_id=after_id, last_id=page.last_id) if page.events else 0
        return Step(sent, None if page.is_last else {"after_id": page.last_id})

    async def _republish(self, session: AsyncSession, operation: Operation) -> Step:
        types: list[str] = operation.parameters["types"]
        since = operation.parameters["since"]
        position = operation.position or {"type": types[0], "after": None}
        (aggregate,) = self._aggregates([position["type"]])
        keys = await republish_page(
            session,
            aggregate,
            since=datetime.fromisoformat(since) if since else None,
            after=position["after"],
            # An older version has recorded no keys.
            keys=operation.parameters.get("keys", ()),
            limit=self.page_rows,
        )
        if len(keys) == self.page_rows:
            return Step(len(keys), {"type": aggregate.name, "after": keys[-1]})
        following = types[types.index(aggregate.name) + 1 :]
        return Step(len(keys), {"type": following[0], "after": None} if following else None)

    def _aggregates(self, types: Sequence[str]) -> list[Republishable]:
        """Return the declared aggregates of these types, each once, in the order of their declaration."""
        known: Mapping[str, Republishable] = {each.name: each for each in self.republished}
        unknown = [name for name in types if name not in known]
        if unknown or not known:
            raise NotRepublished(f"The service republishes: {', '.join(known) or 'nothing'}.")
        return [each for each in self.republished if not types or each.name in types]


async def begin_resend(session: AsyncSession, plan: ResendPlan, *, actor: str) -> Operation:
    """Record a resend of the plan's events. Nobody has counted them yet: that could take long."""
    total = None if plan.last_id else 0
    return await runs.begin(session, kind=RESEND, actor=actor, parameters=plan.as_parameters(), total=total)


async def enqueue_operation(session: AsyncSession, operation: Operation) -> None:
    """Enqueue a job that runs the operation, unless it has ended. The job exists once the session commits."""
    if operation.is_running:
        await enqueue(session, JOB, operation.id.bytes)


def with_operations(jobs: Jobs, sending: Sending, *, seconds_per_job: float = SECONDS_PER_JOB) -> Jobs:
    """Add the job that runs operations to a service's own jobs."""

    @jobs.task(JOB, attempts=20)
    async def run_operation(sessions: Sessions, payload: bytes) -> None:
        operation_id = UUID(bytes=payload)
        try:
            operation = await sending.run(sessions, operation_id, seconds=seconds_per_job)
        except Exception as error:
            async with sessions.begin() as session:
                await runs.note_error(session, operation_id, describe_error(error))
            raise
        if operation is not None:
            async with sessions.begin() as session:
                await enqueue_operation(session, operation)

    return jobs
