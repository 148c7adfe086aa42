"""Scheduled runs, with their metrics over HTTP."""

import asyncio
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import structlog
from aiokafka.errors import KafkaError
from prometheus_client import start_http_server

from deploy.audit.auditor import run_once
from deploy.audit.metrics import AuditMetrics
from deploy.audit.settings import AuditSettings
from shared.connection_errors import CONNECTION_ERRORS
from shared.error_descriptions import describe_error

logger = structlog.get_logger(__name__)


async def serve(settings: AuditSettings, *, every_seconds: float) -> None:
    """Run the audit at an interval until SIGTERM or SIGINT. A failed run is logged, counted and repeated.

    Raises: StateUnusable.
    """
    metrics, stopping = AuditMetrics(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    with _metrics_page(settings, metrics) as port:
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
            except (KafkaError, *CONNECTION_ERRORS) as error:
                metrics.failures.inc()
                logger.warning("audit_failed", error=describe_error(error))
            else:
                metrics.publish(outcome)
                for violation in outcome.reported:
                    if state.first_found_at[violation.id] == outcome.started_at:
                        logger.error("audit_finding", finding_id=violation.id, command=violation.command)
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, begun + every_seconds - time.monotonic())):
                    await stopping.wait()


@contextmanager
def _metrics_page(settings: AuditSettings, metrics: AuditMetrics) -> Iterator[int]:
    server, thread = start_http_server(settings.http_port, addr=settings.http_host, registry=metrics.registry)
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
