"""Exports are bounded: a collector that is away costs spans, which are counted, and never the process."""

import logging
import time

import pytest
import structlog
from opentelemetry.trace import SpanKind
from prometheus_client import REGISTRY

from deploy.local.ports import free_port
from shared import otlp
from shared.logging import configure_logging
from shared.otlp import Telemetry
from shared.telemetry import is_tracing, start_span
from tests.harness.collector import CollectedLine, Collector
from tests.harness.http_server import served
from tests.harness.waiting import until

pytestmark = pytest.mark.usefixtures("restored_logging")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp, "EXPORT_INTERVAL_SECONDS", 0.02)
    monkeypatch.setattr(otlp, "CLOSE_TIMEOUT_SECONDS", 0.2)


def dropped(signal: str) -> float:
    return REGISTRY.get_sample_value("telemetry_dropped_total", {"signal": signal}) or 0.0


def end_spans(count: int) -> None:
    for _ in range(count):
        start_span("test", kind=SpanKind.INTERNAL, traceparent=None).end()


def test_spans_beyond_the_queue_are_dropped_and_counted_and_closing_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp, "MAX_QUEUED", 10)
    monkeypatch.setattr(otlp, "MAX_EXPORT_ITEMS", 10)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "60")
    before = dropped("span")
    telemetry = Telemetry("orders", endpoint=f"http://127.0.0.1:{free_port()}", sample_ratio=1.0)
    assert is_tracing()
    # The thread of the exporter may take one batch of ten out of the queue meanwhile.
    began_at = time.monotonic()
    end_spans(100)
    assert time.monotonic() - began_at < 2
    assert 80 <= dropped("span") - before <= 90
    began_at = time.monotonic()
    telemetry.close()
    assert time.monotonic() - began_at < 5
    assert not is_tracing()


async def test_a_log_line_is_exported_with_its_fields_and_without_values_of_errors() -> None:
    collector, port = Collector(), free_port()
    async with served(collector.app(), port=port):
        telemetry = Telemetry("orders", endpoint=f"http://127.0.0.1:{port}/", sample_ratio=1.0)
        configure_logging("orders", export=telemetry.export_line)
        secret, logger = "ann@example.org", structlog.get_logger("services.orders.commands")
        with pytest.raises(ValueError, match="ann"):
            try:
                raise ValueError(secret)
            except ValueError:
                logger.exception("order_failed", order_id=7, skus=["A"], huge=2**70, reason=None)
                raise
        logging.getLogger("aiokafka").warning("partition %s is gone", 3)

        async def has_both() -> bool:
            return len(collector.lines) == 2

        await until(has_both, what="both lines arrive")
        telemetry.close()
    own, of_a_library = collector.lines
    stacktrace = own.attributes.pop("exception.stacktrace")
    message = own.attributes.pop("exception.message")
    assert message.startswith("ValueError: in test_")
    assert stacktrace.endswith(f"{message}\n")
    assert own == CollectedLine(
        service="orders",
        body="order_failed",
        severity="error",
        trace_id="",
        span_id="",
        attributes={
            "logger": "services.orders.commands",
            "order_id": 7,
            "skus": ["A"],
            "huge": str(2**70),
            "exception.type": "ValueError",
        },
    )
    assert "ann@" not in stacktrace
    assert (of_a_library.body, of_a_library.severity) == ("partition 3 is gone", "warning")
    assert collector.resources["orders"] >= {"service.name", "service.instance.id"}
