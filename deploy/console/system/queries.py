"""Reads of the page *System*: what the services report, what was scraped, and what the supervisor knows."""

from datetime import UTC, datetime

from deploy.console.observation.observer import ObservedHealth, Observer
from deploy.console.observation.series import Series
from deploy.console.system.schemas import HealthChangeView, ProcessView, ServiceHealthView, SystemView
from deploy.local.control_client import ControlClient
from deploy.local.control_protocol import ControlError, SystemStatus


async def system_state(observer: Observer, control: ControlClient | None) -> SystemView:
    """Return each service's health, and the processes of `make run`. Never raises."""
    status: SystemStatus | None = None
    error: str | None = None
    if control is not None:
        try:
            status = await control.status()
        except ControlError as refused:
            error = str(refused)
    return SystemView(
        services=[_service(name, health, observer.series[name]) for name, health in observer.health.items()],
        processes=[ProcessView.model_validate(each) for each in status.processes] if status is not None else None,
        memory_bytes=status.memory_bytes if status is not None else None,
        error=error,
    )


def _service(name: str, health: ObservedHealth, series: Series) -> ServiceHealthView:
    started_at = series.latest("process_start_time_seconds")
    return ServiceHealthView(
        service=name,
        state=health.state,
        checks=dict(health.checks),
        changes=[HealthChangeView.model_validate(change) for change in reversed(health.changes)],
        requests_per_second=series.rate("http_requests_total"),
        errors_per_second=series.rate("http_requests_total", status_class="5xx"),
        latency_seconds=series.quantile("http_request_duration_seconds", 0.99),
        pool_in_use=_whole(series.latest("database_pool_in_use_connections")),
        pool_size=_whole(series.latest("database_pool_max_connections")),
        memory_bytes=_whole(series.latest("process_resident_memory_bytes")),
        started_at=datetime.fromtimestamp(started_at, UTC) if started_at is not None else None,
    )


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
