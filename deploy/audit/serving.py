"""Scheduled runs, with their metrics and their findings over HTTP."""

import asyncio
import signal
import time
from contextlib import suppress

import structlog
from aiokafka.errors import KafkaError

from deploy.audit.auditor import run_once
from deploy.audit.metrics import AuditMetrics
from deploy.audit.page import FindingsPage, served
from deploy.audit.settings import AuditSettings
from deploy.audit.watermarks import StateLocked
from shared.connection_errors import CONNECTION_ERRORS
from shared.error_descriptions import describe_error

logger = structlog.get_logger(__name__)


async def serve(settings: AuditSettings, *, every_seconds: float) -> None:
    """Run the audit at an interval until SIGTERM or SIGINT. A failed run is logged, counted and repeated.

    Raises: StateUnusable.
    """
    metrics, page, stopping = AuditMetrics(), FindingsPage(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    with served(settings, metrics, page) as port:
        logger.info("audit_started", port=port, every_seconds=every_seconds)
        while not stopping.is_set():
            begun = time.monotonic()
            run = asyncio.create_task(run_once(settings, full=False))
            stopped = asyncio.create_task(stopping.wait())
            await asyncio.wait({run, stopped}, return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            run.cancel()
            try:
                outcome, state = await run
            except asyncio.CancelledError:
                break
            except (StateLocked, KafkaError, *CONNECTION_ERRORS) as error:
                metrics.failures.inc()
                page.failed(describe_error(error))
                logger.warning("audit_failed", error=describe_error(error))
            else:
                metrics.publish(outcome)
                page.publish(outcome, state)
                for violation in outcome.reported:
                    if state.first_found_at[violation.id] == outcome.started_at:
                        logger.error("audit_finding", finding_id=violation.id, command=violation.command)
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, begun + every_seconds - time.monotonic())):
                    await stopping.wait()
