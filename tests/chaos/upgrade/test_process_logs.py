"""Errors of the services' own code are found in their logs; a slow Valkey explains a stale read, and nothing else."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.chaos.upgrade.process_logs import entries, is_excused, unexpected_errors

AT = datetime(2026, 11, 29, 12, tzinfo=UTC)


def line(event: str, *, level: str = "error", logger: str = "shared.service", **details: object) -> str:
    return json.dumps({"event": event, "level": level, "logger": logger, "timestamp": AT.isoformat(), **details})


def test_errors_of_the_services_are_counted_by_kind(tmp_path: Path) -> None:
    raised = [{"exc_type": "UndefinedColumnError", "exc_value": "no column"}]
    lines = [
        line("request_failed", route="/v1/orders", exception=raised, id=1),
        line("request_failed", route="/v1/orders", exception=raised, id=2),
        line("loop_failed", loop="relay"),
        line("Group Coordinator Request failed", logger="aiokafka.consumer"),
        line("order_placed", level="info"),
        "not JSON",
        '"a text"',
    ]
    (tmp_path / "orders-old.log").write_text("\n".join(lines))

    assert unexpected_errors(list(entries(tmp_path, ["orders-old", "orders-new"]))) == [
        "orders-old logged 1 times: loop_failed relay",
        "orders-old logged 2 times: request_failed /v1/orders, no column",
    ]


def test_only_a_slow_valkey_explains_a_stale_read(tmp_path: Path) -> None:
    (tmp_path / "orders-old.log").write_text(line("cache_unavailable", level="warning", logger="shared.cache"))
    found = list(entries(tmp_path, ["orders-old"]))

    assert unexpected_errors(found) == []
    assert is_excused(AT + timedelta(seconds=60), found)
    assert not is_excused(AT + timedelta(seconds=90), found)
    assert not is_excused(AT - timedelta(seconds=1), found)
    assert not is_excused(AT, [])
