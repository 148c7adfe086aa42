"""A report is one page without a network, with plots that are small and not empty."""

import json
import re
from collections import Counter
from pathlib import Path

from PIL import Image

from deploy.load.command import Outcome
from deploy.load.growth import Rules, growths_of
from deploy.load.load_plots import plots_of
from deploy.load.plan import Plan
from deploy.load.report import write_report
from deploy.load.routes import PLACE_ORDER
from deploy.load.run import LoadRun
from deploy.load.second import Second
from deploy.load.series import bins_of
from deploy.load.soak import SoakOutcome
from deploy.load.soak_report import write_soak_report
from deploy.load.summary import summary_of
from deploy.load.target import LoadTarget
from deploy.load.thresholds import DEFAULT_FILE, judged, read_thresholds
from tests.deploy.load.builders import samples, second

MAX_PAGE_BYTES, MAX_PNG_BYTES = 300_000, 100_000
LOAD_PLOTS = {"latency", "throughput", "errors", "saga", "messaging", "generator"}
SOAK_PLOTS = {"memory", "handles", "tables", "storage"}


def _outcome(seconds: list[Second]) -> Outcome:
    plan = Plan(url="http://127.0.0.1:8080", rate=5, seconds=len(seconds), think_seconds=1, seed=7)
    target = LoadTarget(url=plan.url, accounts_file=Path("accounts.json"))
    summary = summary_of(seconds, warm_up_seconds=10)
    return Outcome(
        run=LoadRun(plan, target, seconds=seconds),
        summary=summary,
        judgements=judged(summary, read_thresholds(DEFAULT_FILE)),
        warm_up_seconds=10,
    )


def test_a_long_load_has_a_small_page_that_needs_nothing_else(tmp_path: Path) -> None:
    failing = Counter({f"{PLACE_ORDER}: 503 <overloaded>": 3})
    page = write_report(
        _outcome([second(number, errors=failing if number % 9 == 0 else Counter()) for number in range(1_800)]),
        tmp_path,
    ).read_text()

    assert {file.stem for file in tmp_path.glob("*.png")} == LOAD_PLOTS
    _check_pictures(tmp_path)
    assert len(page) < MAX_PAGE_BYTES
    # Names of namespaces are no addresses to load from.
    assert re.findall(r"""(?:src|href)=["'](?!#)[^"']+|url\((?!#)""", re.sub(r'xmlns:?\w*="[^"]*"', "", page)) == []
    assert "<script" not in page
    assert page.count('<svg role="img" aria-label="') == len(LOAD_PLOTS)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert "POST /v1/orders: 503 &lt;overloaded&gt;" in page
    assert "Outbox age and consumer lag are missing: " in page
    assert "Stock was not refilled: " in page
    assert '<strong class="missed">1 of 13 thresholds missed.</strong>' in page
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["missed"] == ["The error rate is 0.74%, above the threshold of 0.10%."]
    assert summary["summary"]["errors"] == {f"{PLACE_ORDER}: 503 <overloaded>": 600}


def test_what_could_not_be_measured_has_no_plot() -> None:
    seconds = [second(number, outbox_age_seconds=None, consumer_lag=None) for number in range(20)]

    plots = plots_of(bins_of(seconds), warm_up_seconds=2)

    assert {plot.name for plot in plots} == LOAD_PLOTS - {"messaging"}


def _soak(leak: float) -> SoakOutcome:
    """Return a soak in which the memory of orders grows by so many MB a minute."""
    megabyte = 1024 * 1024
    taken = samples(
        {
            "memory/orders": lambda minutes: megabyte * (100 + leak * minutes),
            "threads/orders": lambda _: 5,
            "rows/orders.customer_order": lambda minutes: 240 * minutes,
            "rows/orders.product": lambda _: 2_800,
            "disk/kafka": lambda minutes: megabyte * (1 + minutes),
            "valkey/memory": lambda _: megabyte,
        }
    )
    rules = Rules.read()
    return SoakOutcome(
        load=_outcome([second(number) for number in range(60)]),
        samples=taken,
        growths=growths_of(taken, rules),
        rules=rules,
    )


def test_a_soak_names_what_grows(tmp_path: Path) -> None:
    page = write_soak_report(_soak(leak=4), tmp_path).read_text()

    assert {file.stem for file in tmp_path.glob("*.png")} == SOAK_PLOTS
    _check_pictures(tmp_path)
    assert len(page) < MAX_PAGE_BYTES
    assert "memory/orders grows: by" in page
    assert "Nothing grows without bound." not in page
    assert len((tmp_path / "samples.jsonl").read_text().splitlines()) == 60
    assert _soak(leak=0).failures == []


def _check_pictures(folder: Path) -> None:
    """Check that each picture is small, and shows something in colour."""
    for file in folder.glob("*.png"):
        assert file.stat().st_size < MAX_PNG_BYTES, file
        with Image.open(file) as image:
            saturations = image.convert("HSV").getchannel("S").histogram()
        assert sum(saturations[200:]) > 50, file
