"""The plots of a soak."""

from collections.abc import Iterator, Sequence
from functools import partial

from matplotlib.axes import Axes

from deploy.load.drawing import MAX_POINTS, Plot
from deploy.load.growth import Growth, Rules, per_order
from deploy.load.soak_samples import Sample

MEGABYTE = 1024 * 1024
MAX_LINES = 9
"""Lines of a panel: the largest values. More would need colours that nobody can tell apart."""


def soak_plots_of(samples: Sequence[Sample], rules: Rules, growths: Sequence[Growth]) -> Iterator[Plot]:
    """Yield the plots."""
    lines = partial(_lines, samples=samples)
    yield Plot(
        name="memory",
        title="Memory",
        description="Proportional set size of each process with its descendants, in MB over time.",
        panels=[("MB", partial(lines, kinds=("memory",), scale=MEGABYTE))],
    )
    yield Plot(
        name="handles",
        title="Threads, file descriptors, sockets and connections",
        description="Numbers for each process, and clients of each database, over time.",
        panels=[
            (title, partial(lines, kinds=(kind,)))
            for kind, title in (
                ("threads", "threads"),
                ("files", "file descriptors"),
                ("sockets", "sockets"),
                ("connections", "clients of a database"),
            )
        ],
    )
    chosen = [one.name for one in sorted(growths, key=lambda one: -one.mean) if one.name.startswith("rows/")]
    steady = [name for name in chosen if not rules.is_per_order(name)][:MAX_LINES]
    growing = [name for name in chosen if rules.is_per_order(name)][:MAX_LINES]
    yield Plot(
        name="tables",
        title="Rows of tables",
        description="Rows added per order for tables that are meant to grow, and rows of the others, over time.",
        panels=[
            ("rows per order placed", partial(_per_order, samples=samples, names=growing)),
            ("rows of tables that must not grow", partial(_named, samples=samples, names=steady)),
        ],
    )
    yield Plot(
        name="storage",
        title="Disk and Valkey",
        description="Size of each part of the system's folder, and memory that Valkey uses, in MB over time.",
        panels=[
            ("disk (MB)", partial(lines, kinds=("disk",), scale=MEGABYTE)),
            ("Valkey (MB)", partial(_named, samples=samples, names=["valkey/memory"], scale=MEGABYTE)),
        ],
    )


def _lines(axis: Axes, *, samples: Sequence[Sample], kinds: Sequence[str], scale: float = 1) -> None:
    """Draw the largest values of some kinds."""
    last = samples[-1].values
    names = sorted((name for name in last if name.partition("/")[0] in kinds), key=lambda name: -last[name])
    _named(axis, samples=samples, names=names[:MAX_LINES], scale=scale)


def _named(axis: Axes, *, samples: Sequence[Sample], names: Sequence[str], scale: float = 1) -> None:
    step = max(1, len(samples) // MAX_POINTS)
    for name in names:
        found = [(one.at, one.values[name] / scale) for one in samples[::step] if name in one.values]
        axis.plot([at for at, _ in found], [value for _, value in found], label=name.partition("/")[2])


def _per_order(axis: Axes, *, samples: Sequence[Sample], names: Sequence[str]) -> None:
    step = max(1, len(samples) // MAX_POINTS)
    for name in names:
        found = per_order(name, samples)[::step]
        axis.plot([at for at, _ in found], [value for _, value in found], label=name.partition("/")[2])
