"""The report of a soak."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.load.growth import shown
from deploy.load.machine import Environment
from deploy.load.report import write_page
from deploy.load.soak_plots import soak_plots_of

if TYPE_CHECKING:
    from deploy.load.soak import SoakOutcome


def write_soak_report(outcome: "SoakOutcome", folder: Path) -> Path:
    """Write the report into the folder, and return its page. `samples.jsonl` has every sample, for another look."""
    environment = Environment.here()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "samples.jsonl").open("w", encoding="utf-8") as file:
        for sample in outcome.samples:
            file.write(json.dumps({"at": sample.at, "orders": sample.orders, **sample.values}) + "\n")
    document = {
        "environment": vars(environment),
        "load": outcome.load.run.plan.described(),
        "summary": outcome.load.summary.as_json(),
        "failures": outcome.failures,
    }
    (folder / "summary.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    plots = list(soak_plots_of(outcome.samples, outcome.rules, outcome.growths))
    return write_page(folder, "soak.html.j2", plots, outcome=outcome, environment=environment, shown=shown)
