"""Run the scheduler of every server, and the page /metrics."""

import asyncio
import signal

import structlog
from prometheus_client import start_http_server

from deploy.backup.metrics import BackupMetrics
from deploy.backup.scheduler import Schedule, Scheduler, hours
from deploy.backup.server import Server
from deploy.backup.settings import BackupSettings
from shared.logging import configure_logging

log = structlog.get_logger()


async def serve_until_stopped(settings: BackupSettings, servers: list[Server]) -> None:
    """Take base backups until SIGTERM or SIGINT. One that is under way then is abandoned, and leaves nothing."""
    configure_logging("backup")
    metrics = BackupMetrics([server.service for server in servers], archive=settings.archive)
    http, thread = start_http_server(settings.metrics_port, settings.metrics_host, registry=metrics.registry)
    schedule = Schedule(
        every=hours(settings.every_hours),
        initial_retry_seconds=settings.initial_retry_seconds,
        retention=settings.retention,
    )
    schedulers = asyncio.gather(*(Scheduler(server, schedule, metrics).run() for server in servers))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, schedulers.cancel)
    log.info("backup_scheduler_started", services=list(settings.servers), metrics_port=http.server_port)
    try:
        await schedulers
    except asyncio.CancelledError:
        log.info("backup_scheduler_stopped")
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
