"""The report of a load or a soak: one page that needs no other file and no network, and its plots as PNG."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment as Templates
from jinja2 import FileSystemLoader, StrictUndefined

from deploy.load.drawing import Plot
from deploy.load.load_plots import plots_of
from deploy.load.machine import Environment
from deploy.load.series import bins_of

if TYPE_CHECKING:
    from deploy.load.command import Outcome


def write_report(outcome: "Outcome", folder: Path) -> Path:
    """Write the report of a load into the folder, and return its page."""
    environment = Environment.here()
    folder.mkdir(parents=True, exist_ok=True)
    plots = list(plots_of(bins_of(outcome.run.seconds), warm_up_seconds=outcome.warm_up_seconds))
    document = {
        "environment": vars(environment),
        "load": outcome.run.plan.described(),
        "seed": outcome.run.plan.seed,
        "summary": outcome.summary.as_json(),
        "missed": [judgement.sentence for judgement in outcome.missed],
    }
    (folder / "summary.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return write_page(folder, "load.html.j2", plots, outcome=outcome, environment=environment)


def write_page(folder: Path, template: str, plots: Sequence[Plot], **values: Any) -> Path:
    """Draw the plots, write the page, and return it. A report that was in the folder is replaced."""
    for old in folder.glob("*.png"):
        old.unlink()
    pictures: Mapping[str, str] = {plot.name: plot.save(folder) for plot in plots}
    templates = Templates(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = folder / "report.html"
    page.write_text(templates.get_template(template).render(plots=plots, pictures=pictures, **values), encoding="utf-8")
    return page
