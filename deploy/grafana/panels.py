"""Boards and panels, and the JSON of Grafana that they become."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PROMETHEUS = {"type": "prometheus", "uid": "prometheus"}
"""The data source of deploy/grafana/provisioning."""
COLUMNS = 24
"""Columns of Grafana's grid."""
PANELS_PER_ROW = 3
PANEL_HEIGHT = 8


@dataclass(frozen=True)
class Panel:
    """A graph over time. `queries` are PromQL expressions by legend, which may name labels: `{{route}}`."""

    title: str
    queries: Mapping[str, str]
    unit: str = "short"
    description: str = ""
    has_exemplars: bool = False
    """Whether to show the traces of single observations."""


@dataclass(frozen=True)
class Board:
    """A board. Its variable `job` is a service, chosen from the jobs that match `jobs`."""

    title: str
    jobs: str
    sections: Mapping[str, Sequence[Panel]]


def quantile(q: float, histogram: str, *, by: str = "", where: str = 'job=~"$job"') -> str:
    """Return the expression of a histogram's quantile, by labels that are separated by commas."""
    labels = ", ".join(filter(None, ("le", by)))
    return f"histogram_quantile({q}, sum by ({labels}) (rate({histogram}_bucket{{{where}}}[$__rate_interval])))"


def per_second(counter: str, *, by: str, where: str = 'job=~"$job"') -> str:
    """Return the expression of a counter's rate over all processes."""
    return f"sum by ({by}) (rate({counter}{{{where}}}[$__rate_interval]))"


def board_json(uid: str, board: Board) -> str:
    """Return the JSON file of a board."""
    document = {
        "uid": f"orderly-{uid}",
        "title": board.title,
        "tags": ["orderly"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "utc",
        "templating": {"list": [_job_variable(board.jobs)]},
        "panels": _panels(board),
    }
    return json.dumps(document, indent=2) + "\n"


def _job_variable(jobs: str) -> dict[str, Any]:
    return {
        "name": "job",
        "label": "service",
        "type": "query",
        "datasource": PROMETHEUS,
        "query": f'label_values(up{{job=~"{jobs}"}}, job)',
        "refresh": 1,
        "multi": True,
        "includeAll": True,
        "current": {"text": "All", "value": "$__all"},
    }


def _panels(board: Board) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    y = 0
    width = COLUMNS // PANELS_PER_ROW
    for section, panels in board.sections.items():
        found.append(
            {
                "id": len(found) + 1,
                "type": "row",
                "title": section,
                "collapsed": False,
                "panels": [],
                "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1},
            }
        )
        y += 1
        for number, panel in enumerate(panels):
            x, row = number % PANELS_PER_ROW * width, number // PANELS_PER_ROW
            place = {"x": x, "y": y + row * PANEL_HEIGHT, "w": width, "h": PANEL_HEIGHT}
            found.append(_panel(panel, id_=len(found) + 1, place=place))
        y += -(-len(panels) // PANELS_PER_ROW) * PANEL_HEIGHT
    return found


def _panel(panel: Panel, *, id_: int, place: Mapping[str, int]) -> dict[str, Any]:
    return {
        "id": id_,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.description,
        "datasource": PROMETHEUS,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": PROMETHEUS,
                "expr": expression,
                "legendFormat": legend,
                "exemplar": panel.has_exemplars,
            }
            for number, (legend, expression) in enumerate(panel.queries.items())
        ],
    }
