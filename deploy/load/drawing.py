"""Plots as PNG and as SVG: one style, small files, no display needed."""

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

WIDTH, PANEL_HEIGHT = 10.0, 2.6
"""Inches."""
DPI = 90
PNG_COLOURS = 64
MAX_POINTS = 120
"""Points of a line. More would be closer together than pixels, and make the files larger."""
STYLE = Path(__file__).with_name("plots.mplstyle")
BLUE, ORANGE = "C0", "C1"
"""Names of the style's colours."""


@dataclass(frozen=True)
class Plot:
    """A picture of one or more panels. `description` is for those who cannot see it."""

    name: str
    title: str
    description: str
    panels: Sequence[tuple[str, Callable[[Axes], None]]]
    """The title of each panel, and what draws it."""
    columns: int = 1
    x_label: str = "seconds since the beginning"

    def save(self, folder: Path) -> str:
        """Write the picture as PNG into the folder, and return it as SVG."""
        with mpl.rc_context(fname=STYLE):
            figure = self._drawn()
            picture, text = io.BytesIO(), io.StringIO()
            figure.savefig(picture, dpi=DPI)
            figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
        # A palette instead of 16 million colours takes a third of the space.
        image = Image.open(picture).convert("RGB").quantize(PNG_COLOURS)
        image.save(folder / f"{self.name}.png", optimize=True)
        return _inline(text.getvalue(), label=f"{self.title}: {self.description}", name=self.name)

    def _drawn(self) -> Figure:
        rows = -(-len(self.panels) // self.columns)
        figure = Figure(figsize=(WIDTH, PANEL_HEIGHT * rows), layout="constrained")
        axes = figure.subplots(rows, self.columns, squeeze=False, sharex=True).flatten()
        for number, (title, draw) in enumerate(self.panels):
            axis = axes[number]
            axis.set_title(title)
            draw(axis)
            # Room for the legend above the lines.
            axis.set_ylim(bottom=0, top=1.2 * axis.get_ylim()[1])
            # One legend where all panels have the same lines.
            if axis.get_legend_handles_labels()[1] and (number == 0 or self.columns == 1):
                axis.legend(loc="upper left", ncols=4)
            if number + self.columns >= len(self.panels):
                axis.tick_params(labelbottom=True)
                axis.set_xlabel(self.x_label)
        for axis in axes[len(self.panels) :]:
            axis.set_visible(False)
        return figure


def _inline(svg: str, *, label: str, name: str) -> str:
    """Return the SVG element for a page: scalable, named for screen readers, with ids that no other picture has."""
    element = svg[svg.index("<svg") :]
    element = re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
    element = re.sub(r'\b(id="|href="#|url\(#)', rf"\g<1>{name}-", element)
    # Positions to a hundredth of a point: no eye sees more.
    element = re.sub(r"(\d+\.\d\d)\d+", r"\1", element)
    element = re.sub(r'<svg ([^>]*?)width="[^"]*"', r"<svg \1", element, count=1)
    element = re.sub(r'<svg ([^>]*?)height="[^"]*"', r"<svg \1", element, count=1)
    escaped = label.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return element.replace("<svg ", f'<svg role="img" aria-label="{escaped}" ', 1)
