"""Logs of the process and of its libraries have one format."""

import json
import logging
import warnings
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog
from structlog.contextvars import bound_contextvars

from shared.database import open_database
from shared.logging import configure_logging
from shared.telemetry import continued_trace

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"

pytestmark = pytest.mark.usefixtures("restored_logging")


def logged(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_line_is_json_with_its_context(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("orders")
    with bound_contextvars(request_id="r-1"), continued_trace(f"00-{TRACE_ID}-00f067aa0ba902b7-01"):
        structlog.get_logger("services.orders.commands").info("order_placed", order_id=7)
    [line] = logged(capsys)
    assert datetime.now(UTC) - datetime.fromisoformat(line.pop("timestamp")) < timedelta(seconds=10)
    assert line == {
        "event": "order_placed",
        "level": "info",
        "service": "orders",
        "logger": "services.orders.commands",
        "request_id": "r-1",
        "trace_id": TRACE_ID,
        "order_id": 7,
    }


def test_libraries_log_in_the_same_format(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("orders")
    with bound_contextvars(event_id="e-1"):
        logging.getLogger("aiokafka.consumer").warning("partition %s is gone", 3, extra={"topic": "users"})
    [line] = logged(capsys)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "partition 3 is gone",
        "level": "warning",
        "service": "orders",
        "logger": "aiokafka.consumer",
        "event_id": "e-1",
        "topic": "users",
    }


def test_a_traceback_is_structured_and_holds_no_locals(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("orders")

    def fail(password: str) -> None:
        raise ValueError(f"{len(password)} letters")

    try:
        fail(password="hunter2")
    except ValueError:
        structlog.get_logger().exception("request_failed")
        logging.getLogger("sqlalchemy").exception("also here")
    output = capsys.readouterr().out
    assert "hunter2" not in output
    for line in map(json.loads, output.splitlines()):
        [exception] = line["exception"]
        assert exception["exc_type"] == "ValueError"
        assert exception["exc_value"].startswith("ValueError: in fail, test_logging.py:")
        assert [frame["name"] for frame in exception["frames"]] == [
            "test_a_traceback_is_structured_and_holds_no_locals",
            "fail",
        ]


@pytest.mark.parametrize("logger", ["uvicorn.access", "aiokafka", "sqlalchemy.engine", "httpx2"])
def test_info_messages_of_libraries_are_dropped(capsys: pytest.CaptureFixture[str], logger: str) -> None:
    configure_logging("orders")
    logging.getLogger(logger).info("GET /v1/users?email=ann@example.org")
    assert logged(capsys) == []


async def test_info_messages_of_the_connection_pool_are_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("orders")
    database = open_database("postgresql://orders@127.0.0.1/orders", service="orders", pool_size=1)

    # SQLAlchemy logs this, for example, when it has replaced a connection that was cut.
    database.engine.pool.logger.info("Pool recreating")

    await database.close()
    assert logged(capsys) == []


def test_access_logs_of_uvicorn_are_dropped_even_at_level_debug(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("orders", level="debug")
    logging.getLogger("uvicorn.access").info("GET /v1/users?email=ann@example.org")
    logging.getLogger("aiokafka").debug("shown")
    assert [line["event"] for line in logged(capsys)] == ["shown"]


def test_messages_below_the_level_are_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("orders", level="warning")
    structlog.get_logger("a").info("hidden")
    structlog.get_logger("a").warning("shown")
    assert [line["event"] for line in logged(capsys)] == ["shown"]


def test_handlers_of_uvicorn_are_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("uvicorn").addHandler(logging.StreamHandler())
    configure_logging("orders")
    logging.getLogger("uvicorn.error").info("Started", extra={"color_message": "\x1b[36mStarted"})
    captured = capsys.readouterr()
    assert (len(captured.out.splitlines()), captured.err) == (1, "")
    assert "color_message" not in captured.out


def test_values_that_json_cannot_represent_are_logged_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("orders")
    structlog.get_logger("a").info("odd", value={1}, number=2**70, text="\ud800")
    structlog.get_logger("a").info("odd", value={1})
    first, second = logged(capsys)
    assert (first["value"], first["number"], first["text"]) == ("{1}", 2**70, "\ud800")
    assert second["value"] == "{1}"


def test_warnings_are_logged(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("orders")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn("old thing used", stacklevel=1)
    assert "old thing used" in logged(capsys)[0]["event"]


def test_the_console_format_is_plain_text(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("orders", format="console")
    structlog.get_logger("a").info("order_placed", order_id=7)
    try:
        raise ValueError("no such order")
    except ValueError:
        structlog.get_logger("a").exception("request_failed")
    output = capsys.readouterr().out
    assert "order_placed" in output
    assert "order_id=7" in output
    assert "ValueError: in test_the_console_format_is_plain_text" in output
    assert "no such order" not in output.splitlines()[-1]
    assert "{" not in output


def test_a_second_configuration_replaces_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("orders")
    configure_logging("users")
    structlog.get_logger("a").info("once")
    assert [line["service"] for line in logged(capsys)] == ["users"]
