"""Reads of the page *Break it*."""

from deploy.console.break_it.load import LoadRunner
from deploy.console.break_it.schemas import BreakItView, RatesView
from deploy.console.invariants.queries import invariants
from deploy.console.local_control import answered
from deploy.console.observation.observer import Observer
from deploy.console.settings import SERVICES, ConsoleSettings
from deploy.local.control_client import ControlClient
from deploy.local.control_protocol import ComparisonStatus, ControlError

MAX_REPORTS = 15
RATE_WINDOW_SECONDS = 10.0


async def break_it_state(
    control: ControlClient, observer: Observer, settings: ConsoleSettings, load: LoadRunner
) -> BreakItView:
    """Return the faults, the comparison, the rates and the invariants. Raises: ControlRefused."""
    faults, status = await answered(control.faults()), await answered(control.status())
    return BreakItView(
        faults=faults,
        injected=list(reversed(status.faults))[:MAX_REPORTS],
        comparison=await _comparison(control),
        load=load.view,
        rates=_rates(observer),
        invariants=await invariants(settings),
    )


async def _comparison(control: ControlClient) -> ComparisonStatus | None:
    try:
        return await control.comparison()
    except ControlError:
        return None


def _rates(observer: Observer) -> RatesView:
    series = [observer.series[service] for service in SERVICES]

    def rate(name: str, **labels: str) -> float:
        return sum(each.rate(name, window_seconds=RATE_WINDOW_SECONDS, **labels) for each in series)

    def total(name: str) -> int:
        return int(sum(each.latest(name) or 0 for each in series))

    placed = {"method": "POST", "route": "/v1/orders", "status_class": "2xx"}
    return RatesView(
        orders_placed_per_second=rate("http_requests_total", **placed),
        events_published_per_second=rate("relay_published_total"),
        events_applied_per_second=rate("consumer_applied_total"),
        deliveries_sent_per_second=rate("notifications_attempts_total", outcome="sent"),
        outbox_events=total("outbox_waiting_events"),
        lag_events=total("consumer_lag_events"),
        dead_letters=total("dead_letters_unresolved"),
    )
