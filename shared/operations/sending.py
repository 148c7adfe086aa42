"""The operations that send events again: a resend of what was sent, and a republication of what is so now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import Sessions
from shared.errors import Problem
from shared.jobs import Jobs, enqueue
from shared.messaging.outbox.republish import PAGE_ROWS, Republishable, count_aggregates, republish_page
from shared.messaging.outbox.resend import ResendPlan, resend_page
from shared.operations import runs
from shared.operations.runs import OnMoved, Operation, Step

RESEND = "resend"
REPUBLICATION = "republication"
JOB = "operation"
SECONDS_A_JOB = 20.0
"""After that long the rest is left to a new job, so that a process can end in time."""


class NotRepublished(Problem):
    """This service does not send such a state."""

    status = 422
    code = "not_republished"


@dataclass(frozen=True)
class Sending:
    """What one service can send again."""

    republished: Sequence[Republishable] = ()

    async def run(
        self, sessions: Sessions, operation_id: UUID, *, seconds: float | None = None, on_moved: OnMoved | None = None
    ) -> Operation | None:
        """See `runs.run`."""
        return await runs.run(sessions, operation_id, take_step=self._take_step, seconds=seconds, on_moved=on_moved)

    async def begin_republication(
        self, session: AsyncSession, *, types: Sequence[str], since: datetime | None, actor: str
    ) -> Operation:
        """Of these types, or of all where none is named. Raises: NotRepublished."""
        kinds = self._kinds(types)
        total = sum([await count_aggregates(session, kind, since=since) for kind in kinds])
        parameters = {"types": [kind.name for kind in kinds], "since": since.isoformat() if since else None}
        return await runs.begin(session, kind=REPUBLICATION, actor=actor, parameters=parameters, total=total)

    async def _take_step(self, session: AsyncSession, operation: Operation) -> Step:
        if operation.kind == RESEND:
            return await _resend(session, operation)
        return await self._republish(session, operation)

    async def _republish(self, session: AsyncSession, operation: Operation) -> Step:
        types: list[str] = operation.parameters["types"]
        since = operation.parameters["since"]
        position = operation.position or {"type": types[0], "after": None}
        (kind,) = self._kinds([position["type"]])
        keys = await republish_page(
            session, kind, since=datetime.fromisoformat(since) if since else None, after=position["after"]
        )
        if len(keys) == PAGE_ROWS:
            return Step(len(keys), {"type": kind.name, "after": keys[-1]})
        following = types[types.index(kind.name) + 1 :]
        return Step(len(keys), {"type": following[0], "after": None} if following else None)

    def _kinds(self, names: Sequence[str]) -> list[Republishable]:
        known: Mapping[str, Republishable] = {kind.name: kind for kind in self.republished}
        unknown = [name for name in names if name not in known]
        if unknown or not known:
            raise NotRepublished(f"It sends: {', '.join(known) or 'nothing'}.")
        # Each once, in the order in which the service declares them.
        return [kind for kind in self.republished if not names or kind.name in names]


async def begin_resend(session: AsyncSession, plan: ResendPlan, *, actor: str) -> Operation:
    """Put the sending of a plan on record."""
    return await runs.begin(session, kind=RESEND, actor=actor, parameters=plan.as_parameters(), total=plan.events)


async def enqueue_operation(session: AsyncSession, operation: Operation) -> None:
    """Let a jobs process run it, if the session's transaction commits."""
    if operation.is_running:
        await enqueue(session, JOB, operation.id.bytes)


def with_operations(jobs: Jobs, sending: Sending) -> Jobs:
    """Add the running of operations to a service's own jobs."""

    @jobs.task(JOB, attempts=20)
    async def run_operation(sessions: Sessions, payload: bytes) -> None:
        operation_id = UUID(bytes=payload)
        try:
            operation = await sending.run(sessions, operation_id, seconds=SECONDS_A_JOB)
        except Exception as error:
            async with sessions.begin() as session:
                await runs.note_error(session, operation_id, repr(error))
            raise
        if operation is not None:
            async with sessions.begin() as session:
                await enqueue_operation(session, operation)

    return jobs


async def _resend(session: AsyncSession, operation: Operation) -> Step:
    plan = ResendPlan.from_parameters(operation.parameters)
    page = operation.position["page"] if operation.position else 0
    sent = await resend_page(session, plan, page=page)
    return Step(sent, {"page": page + 1} if page + 1 < len(plan.last_ids) else None)
