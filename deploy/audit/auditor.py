"""The auditor: connects to the databases and to Kafka for each run, and keeps the state between them."""

from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import structlog
from aiokafka.errors import KafkaError

from deploy.audit.context import Context, Topics
from deploy.audit.databases import connected
from deploy.audit.runs import Outcome, run_full, run_incremental
from deploy.audit.settings import AuditSettings
from deploy.audit.topics import opened_topics
from deploy.audit.watermarks import Acceptance, State, StateUnusable, locked_state
from shared.error_descriptions import describe_error
from shared.messaging.kafka import kafka_of

logger = structlog.get_logger(__name__)

COMMAND_WAIT_SECONDS = 30
"""Time for which a command waits for the state file: a run of the serving audit takes about a second."""


async def run_once(settings: AuditSettings, *, full: bool, wait_seconds: float = 0) -> tuple[Outcome, State]:
    """Run the audit once, and keep its state. A run that fails leaves the state as it was.

    `wait_seconds`: time for which this thread waits for another run.

    Raises: StateUnusable, errors of the databases and of Kafka.
    """
    with locked_state(settings.state_file, wait_seconds=wait_seconds) as state:
        async with AsyncExitStack() as stack:
            topics, skipped = await _topics(settings, stack)
            databases = await stack.enter_async_context(connected(settings.database_urls))
            context = Context(
                databases,
                datetime.now(UTC),
                grace=settings.grace,
                topics=topics,
                notification_retention=timedelta(days=settings.notification_retention_days),
            )
            if full:
                outcome = await run_full(context, state)
            else:
                outcome = await run_incremental(context, state, settings.limits)
            outcome.skipped += skipped
    logger.info("audit_completed", mode=outcome.mode, findings=len(outcome.reported), seconds=round(outcome.seconds, 3))
    return outcome, state


def accept(settings: AuditSettings, finding_id: str, *, actor: str, note: str) -> bool:
    """Accept a finding, so that it is not reported any more; return False if it was accepted before.

    Raises: StateUnusable if the last run has not found it.
    """
    with locked_state(settings.state_file, wait_seconds=COMMAND_WAIT_SECONDS) as state:
        violation = next((each for each in state.found if each.id == finding_id), None)
        if violation is None:
            raise StateUnusable(f"the last run has found no {finding_id}")
        if state.is_accepted(violation):
            return False
        state.accepted[finding_id] = Acceptance(text=violation.text, actor=actor, note=note, at=datetime.now(UTC))
    logger.warning("audit_finding_accepted", finding_id=finding_id, actor=actor, note=note)
    return True


async def _topics(settings: AuditSettings, stack: AsyncExitStack) -> tuple[Topics | None, list[str]]:
    """Connect to Kafka, and say why its check is left out. The databases are checked while Kafka is away."""
    if not settings.kafka_bootstrap_servers:
        return None, ["topics: AUDIT_KAFKA_BOOTSTRAP_SERVERS is not set"]
    try:
        return await stack.enter_async_context(opened_topics(kafka_of(settings))), []
    except (KafkaError, OSError) as error:
        logger.warning("audit_without_topics", error=describe_error(error))
        return None, ["topics: Kafka does not answer"]
