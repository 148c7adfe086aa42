"""The plots of a load."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from matplotlib.axes import Axes

from deploy.load.drawing import BLUE, ORANGE, Plot
from deploy.load.routes import ROUTES
from deploy.load.series import Bin, points
from deploy.load.summary import MAX_CPU

ROUTE_COLUMNS = 3
MAX_CODES = 8
"""Codes of errors that have a colour of their own. The rest shares one."""


def plots_of(bins: Sequence[Bin], *, warm_up_seconds: float) -> Iterator[Plot]:
    """Yield the plots. What was not measured has none."""
    used = [route for route in ROUTES if any(route in one.requests for one in bins)]
    shaded = partial(_shaded, seconds=warm_up_seconds)
    yield Plot(
        name="latency",
        title="Latency by route",
        description="p50, p99 and maximum in milliseconds over time. The grey part is the warm-up.",
        panels=[(f"{route} (ms)", shaded(partial(_latency, bins=bins, route=route))) for route in used],
        columns=ROUTE_COLUMNS,
    )
    yield Plot(
        name="throughput",
        title="Throughput",
        description="Requests, orders placed and orders confirmed per second over time.",
        panels=[
            ("requests per second", partial(_requests, bins=bins)),
            ("orders per second", partial(_orders, bins=bins)),
        ],
    )
    yield Plot(
        name="errors",
        title="Errors by code",
        description="Errors, expected ones included, per second and by status and code over time.",
        panels=[("per second", partial(_errors, bins=bins))],
    )
    yield Plot(
        name="saga",
        title="POST to confirmed",
        description="p50, p99 and maximum in seconds over time.",
        panels=[("seconds", shaded(partial(_saga, bins=bins)))],
    )
    yield from _plots_of_the_system_and_the_generator(bins)


def _plots_of_the_system_and_the_generator(bins: Sequence[Bin]) -> Iterator[Plot]:
    if any(one.outbox_ages for one in bins):
        yield _messaging_plot(bins)
    yield _generator_plot(bins)


def _messaging_plot(bins: Sequence[Bin]) -> Plot:
    return Plot(
        name="messaging",
        title="Outbox age and consumer lag",
        description="Age of the oldest event in any outbox, and records that consumers have not applied.",
        panels=[
            ("age of the oldest event in an outbox (s)", partial(_largest, bins=bins, of=lambda one: one.outbox_ages)),
            ("consumer lag, all consumers (records)", partial(_largest, bins=bins, of=lambda one: one.lags)),
        ],
    )


def _generator_plot(bins: Sequence[Bin]) -> Plot:
    return Plot(
        name="generator",
        title="The load generator itself",
        description="Share of a core that it used, and the delay with which customers began, over time.",
        panels=[
            (f"share of a core; above {MAX_CPU:g} it may be the bottleneck", partial(_cpu, bins=bins)),
            ("longest delay of a customer's beginning (ms)", partial(_largest, bins=bins, of=lambda one: one.late)),
        ],
    )


def _shaded(draw: Callable[[Axes], None], *, seconds: float) -> Callable[[Axes], None]:
    """Return what draws on a panel whose first seconds are grey."""

    def draw_on_grey(axis: Axes) -> None:
        axis.axvspan(0, seconds, color="#f3f4f6", lw=0)
        draw(axis)

    return draw_on_grey


def _latency(axis: Axes, *, bins: Sequence[Bin], route: str) -> None:
    _percentiles(axis, bins, lambda one: one.requests.get(route, []))


def _saga(axis: Axes, *, bins: Sequence[Bin]) -> None:
    _percentiles(axis, bins, lambda one: one.sagas)


def _percentiles(axis: Axes, bins: Sequence[Bin], values: Callable[[Bin], Sequence[float]]) -> None:
    axis.plot(*points(bins, values, lambda latency: latency.maximum), color="#9ca3af", lw=0.8, label="max")
    axis.plot(*points(bins, values, lambda latency: latency.p99), color=ORANGE, label="p99")
    axis.plot(*points(bins, values, lambda latency: latency.p50), color=BLUE, label="p50")


def _requests(axis: Axes, *, bins: Sequence[Bin]) -> None:
    axis.plot([one.at for one in bins], [one.per_second(sum(map(len, one.requests.values()))) for one in bins])


def _orders(axis: Axes, *, bins: Sequence[Bin]) -> None:
    times = [one.at for one in bins]
    axis.plot(times, [one.per_second(one.placed) for one in bins], label="placed")
    axis.plot(times, [one.per_second(one.confirmed) for one in bins], label="confirmed", ls="--")


def _errors(axis: Axes, *, bins: Sequence[Bin]) -> None:
    codes = sorted({code for one in bins for code in one.errors})
    if not codes:
        axis.text(0.5, 0.5, "no errors", transform=axis.transAxes, ha="center")
        return
    named, rest = codes[:MAX_CODES], codes[MAX_CODES:]
    times = [one.at for one in bins]
    stacked = [[one.per_second(one.errors[code]) for one in bins] for code in named]
    if rest:
        stacked.append([one.per_second(sum(one.errors[code] for code in rest)) for one in bins])
    axis.stackplot(times, *stacked, labels=[*named, *(["other codes"] if rest else [])])


def _cpu(axis: Axes, *, bins: Sequence[Bin]) -> None:
    axis.axhline(MAX_CPU, color=ORANGE, lw=0.8, ls="--")
    _largest(axis, bins=bins, of=lambda one: one.cpus)


def _largest(axis: Axes, *, bins: Sequence[Bin], of: Callable[[Bin], Sequence[float]]) -> None:
    """Draw the largest value of each bin."""
    found = [(one.at, max(of(one))) for one in bins if of(one)]
    axis.plot([at for at, _ in found], [value for _, value in found], color=BLUE)
