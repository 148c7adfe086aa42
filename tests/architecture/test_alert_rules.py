"""The alert rules are valid, tested and documented, and read only metrics that exist."""

import mmap
import re
import sysconfig
from pathlib import Path
from typing import Any

import yaml

from tests.architecture.metric_names import GATEWAY, existing_series, metrics_pages, own_metrics, series_in
from tests.architecture.source import CHECKOUT
from tests.harness.promtool import run_promtool

FOLDER = CHECKOUT / "deploy" / "prometheus"
RULES = sorted((FOLDER / "rules").glob("*.yaml"))
TESTS = sorted((FOLDER / "tests").glob("*.yaml"))
Rule = dict[str, Any]


def _rules() -> list[Rule]:
    groups = [group for file in RULES for group in yaml.safe_load(file.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


ALERTS: dict[str, Rule] = {rule["alert"]: rule for rule in _rules() if "alert" in rule}
RECORDED = {rule["record"] for rule in _rules() if "record" in rule}


def test_promtool_finds_the_rules_valid_and_their_tests_pass() -> None:
    checked = run_promtool("check", "rules", *RULES)
    assert checked.returncode == 0, checked.stdout
    tested = run_promtool("test", "rules", *TESTS)
    assert tested.returncode == 0, tested.stdout


def test_every_alert_fires_in_a_test() -> None:
    expected: set[str] = set()
    for file in TESTS:
        content = yaml.safe_load(file.read_text())
        assert [file.parent / each for each in content["rule_files"]] == [FOLDER / "tests" / ".." / "rules" / file.name]
        checks = [check for test in content["tests"] for check in test["promql_expr_test"]]
        samples = [sample["labels"] for check in checks for sample in check["exp_samples"]]
        expected |= {name for labels in samples for name in re.findall(r'alertname="(\w+)"', labels)}
    assert ALERTS.keys() - expected == set()


def test_a_healthy_system_is_described_for_each_file() -> None:
    """Otherwise a rule that always fires would pass its test."""
    first = [yaml.safe_load(file.read_text())["tests"][0]["promql_expr_test"] for file in TESTS]
    found = [(check["expr"], check["exp_samples"]) for checks in first for check in checks]
    assert found == [("ALERTS", [])] * len(TESTS)


def test_every_alert_says_what_is_wrong_and_names_its_runbook() -> None:
    for name, rule in ALERTS.items():
        assert rule["labels"].keys() == {"severity"}, name
        assert rule["labels"]["severity"] in {"critical", "warning"}, name
        assert rule["annotations"].keys() == {"summary", "description", "runbook"}, name
        page = CHECKOUT / rule["annotations"]["runbook"]
        assert page.parent == CHECKOUT / "docs" / "runbooks", name
        assert f"`{name}`" in page.read_text(), f"{page.name} does not mention {name}"


def test_rules_read_only_metrics_that_exist() -> None:
    exist = existing_series() | RECORDED
    unknown = {rule.get("alert") or rule["record"]: series_in(rule["expr"]) - exist for rule in _rules()}
    assert {name: series for name, series in unknown.items() if series} == {}
    assert all(series_in(rule["expr"]) for rule in _rules())


def test_the_gateway_knows_the_metrics_that_are_expected_of_it() -> None:
    with Path(sysconfig.get_path("scripts"), "traefik").open("rb") as program:
        content = mmap.mmap(program.fileno(), 0, access=mmap.ACCESS_READ)
        assert {name for name in GATEWAY if content.find(name.encode()) < 0} == set()


def test_metrics_are_named_as_prometheus_wants_it() -> None:
    checked = run_promtool("check", "metrics", stdin=metrics_pages())
    assert (checked.returncode, checked.stdout) == (0, "")
    # What promtool does not check: units are base units, and a gauge has no name of a counter or histogram.
    endings = re.compile(r"_(total|count|sum|bucket|created|info|ms|millis|milliseconds|minutes|hours|kb|mb|percent)$")
    wrong = {name for name, kind in own_metrics().items() if kind != "counter" and endings.search(name)}
    assert wrong == set()


def test_the_page_of_metrics_names_every_alert_and_no_other() -> None:
    page = (CHECKOUT / "docs" / "metrics.md").read_text()
    assert set(re.findall(r"`([A-Z][a-z]+(?:[A-Z][a-z]+)+)`", page)) == ALERTS.keys()
