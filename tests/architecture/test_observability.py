"""Prometheus, Grafana and Jaeger of compose: the targets, the boards and their data sources."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from deploy.compose.stack import COLLECTOR, TRACE_STORE
from deploy.grafana.__main__ import FOLDER
from deploy.grafana.boards import BOARDS
from deploy.grafana.panels import PROMETHEUS, board_json
from tests.architecture.composed import containers
from tests.architecture.metric_names import existing_series, series_in
from tests.architecture.source import CHECKOUT, SERVICES
from tests.architecture.test_alert_rules import ALERTS, RECORDED
from tests.harness.promtool import run_promtool

PROMETHEUS_FILE = CHECKOUT / "deploy" / "prometheus" / "prometheus.yaml"
PROVISIONING = CHECKOUT / "deploy" / "grafana" / "provisioning"
PANELS = [panel for board in BOARDS.values() for panels in board.sections.values() for panel in panels]
EXPRESSIONS = [expression for panel in PANELS for expression in panel.queries.values()]


@pytest.mark.parametrize("name", BOARDS)
def test_the_files_of_the_boards_are_those_that_the_code_describes(name: str) -> None:
    """Write them with `python -m deploy.grafana`."""
    assert (FOLDER / f"{name}.json").read_text() == board_json(name, BOARDS[name])
    assert {file.stem for file in FOLDER.iterdir()} == BOARDS.keys()


def test_every_expression_of_a_board_is_valid(tmp_path: Path) -> None:
    filled_in = [each.replace("$__rate_interval", "1m").replace("$job", ".+") for each in EXPRESSIONS]
    rules = [{"record": f"panel:{number}", "expr": each} for number, each in enumerate(filled_in)]
    file = tmp_path / "rules.yaml"
    file.write_text(json.dumps({"groups": [{"name": "boards", "rules": rules}]}))

    checked = run_promtool("check", "rules", file)

    assert checked.returncode == 0, checked.stdout
    assert not any("$" in each for each in filled_in)


def test_boards_read_only_metrics_that_exist() -> None:
    exist = existing_series() | RECORDED
    unknown = {expression: series_in(expression) - exist for expression in EXPRESSIONS}
    assert {expression: series for expression, series in unknown.items() if series} == {}
    assert all(series_in(expression) for expression in EXPRESSIONS)


def test_boards_name_only_alerts_that_exist() -> None:
    words = {word.strip(".,") for panel in PANELS for word in panel.description.split()}
    named = {word for word in words if not word.islower() and any(letter.isupper() for letter in word[1:])}
    assert named
    assert named - ALERTS.keys() == set()


def test_exemplars_lead_to_the_traces() -> None:
    sources: list[dict[str, Any]] = _loaded(PROVISIONING / "datasources" / "orderly.yaml")["datasources"]
    by_type = {source["type"]: source for source in sources}

    assert {"type": "prometheus", "uid": by_type["prometheus"]["uid"]} == PROMETHEUS
    (destination,) = by_type["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert destination["datasourceUid"] == by_type["jaeger"]["uid"]
    assert destination["name"] == import_module("shared.exemplars").TRACE_ID
    assert "--enable-feature=exemplar-storage" in containers()["prometheus"]["command"]
    named = {source["url"].removeprefix("http://").partition(":")[0] for source in sources}
    assert named == {"prometheus", "jaeger"}
    assert named <= _reachable("grafana")


def test_the_gateway_and_the_services_send_traces_to_the_console_which_reaches_jaeger() -> None:
    collector, store = urlsplit(COLLECTOR), urlsplit(TRACE_STORE)
    assert containers()["jaeger"]["environment"]["COLLECTOR_OTLP_ENABLED"] == "true"
    assert (collector.hostname, collector.port) == ("console", 4318)
    assert (store.hostname, store.port) == ("jaeger", 4318)
    assert {"gateway", *SERVICES} <= _reachable("console")
    assert "console" in _reachable("jaeger")
    # Data of customers are not there, and whoever reaches Grafana does not reach the databases.
    assert not {"users-postgres", "kafka"} & (_reachable("jaeger") | _reachable("grafana"))


def test_grafana_lets_nobody_in_without_the_password() -> None:
    environment = containers()["grafana"]["environment"]
    assert environment["GF_SECURITY_ADMIN_PASSWORD__FILE"] == "/run/secrets/grafana_password"
    assert environment["GF_AUTH_ANONYMOUS_ENABLED"] == environment["GF_USERS_ALLOW_SIGN_UP"] == "false"


def test_prometheus_scrapes_everything_that_has_metrics() -> None:
    scraped = {job["job_name"]: job["static_configs"][0]["targets"] for job in _scrape_configs()}
    ports = {name: containers()[name]["environment"][f"{name.upper()}_HTTP_PORT"] for name in SERVICES}

    assert scraped == {
        **{name: [f"{name}:{port}"] for name, port in ports.items()},
        "gateway": ["gateway:8081"],
        "audit": [f"audit:{containers()['audit']['environment']['AUDIT_HTTP_PORT']}"],
        "backup": ["backup:9187"],
        "prometheus": ["127.0.0.1:9090"],
    }
    assert scraped.keys() - {"prometheus"} <= _reachable("prometheus")


def test_a_suspended_process_is_noticed_within_30_seconds() -> None:
    """The parts: the next scrape, its time-out, the time for which the alert waits, and the next evaluation."""
    settings = _loaded(PROMETHEUS_FILE)["global"]
    (group,) = [
        each
        for each in _loaded(CHECKOUT / "deploy" / "prometheus" / "rules" / "services.yaml")["groups"]
        if each["name"] == "services"
    ]
    waits = {ALERTS[name]["for"] for name in ("ServiceDown", "ConsumerStopped")}
    parts = [settings["scrape_interval"], settings["scrape_timeout"], *waits, group["interval"]]

    assert sum(int(part.removesuffix("s")) for part in parts) <= 30
    checked = run_promtool("check", "config", "--syntax-only", PROMETHEUS_FILE)
    assert checked.returncode == 0, checked.stdout


def _scrape_configs() -> list[dict[str, Any]]:
    configs: list[dict[str, Any]] = _loaded(PROMETHEUS_FILE)["scrape_configs"]
    return configs


def _reachable(name: str) -> set[str]:
    """Return the containers that have a network in common with this one."""
    networks = set(containers()[name]["networks"])
    return {other for other, each in containers().items() if networks & set(each["networks"])}


def _loaded(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(file.read_text())
    return content
