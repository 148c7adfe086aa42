"""Reads of the page *System*."""

from deploy.console.observation.observer import Observer
from deploy.console.system.schemas import HealthChangeView, ServiceHealthView, SystemView


def system_state(observer: Observer) -> SystemView:
    """Return the health of each service."""
    return SystemView(
        services=[
            ServiceHealthView(
                service=name,
                state=health.state,
                checks=dict(health.checks),
                changes=[HealthChangeView.model_validate(change) for change in reversed(health.changes)],
            )
            for name, health in observer.health.items()
        ]
    )
