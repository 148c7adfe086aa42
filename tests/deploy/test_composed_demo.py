"""The demo finds the system of compose by its settings, its secret files, and the API of Mailpit."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from deploy.demo import composed
from deploy.demo.composed import ComposedSystem
from deploy.demo.target import ReceivedMail, Target
from deploy.local.process import LocalError
from tests.architecture.composed import containers


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ComposedSystem:
    demo = containers()["demo"]
    for name in demo["secrets"]:
        (tmp_path / name).write_text(f"{name}-1\n")
    for name, value in demo["environment"].items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DEMO_SECRETS_FOLDER", str(tmp_path))
    return ComposedSystem()


def test_the_container_has_what_the_demo_needs(system: ComposedSystem) -> None:
    target: Target = system

    assert target.gateway_url == "http://gateway:8080"
    assert target.admin_password == "admin_password-1"
    assert target.databases == {
        service: f"postgresql://{service}:{service}_database_password-1@{service}-postgres:5432/{service}"
        for service in ("users", "orders", "notifications")
    }
    assert {urlsplit(url).hostname for url in target.databases.values()} <= containers().keys()
    with pytest.raises(LocalError, match="--kill needs the system of `make run`"):
        target.kill("orders")


async def test_mails_of_the_run_are_read_page_by_page(system: ComposedSystem) -> None:
    """Mailpit lists the newest first, and leaves the brackets of the Message-ID out."""
    mails = [_message(number, to=f"ada+{'run2' if number % 3 else 'run1'}@example.com") for number in range(1_200)]
    with _mailpit(mails) as url:
        found = await system.model_copy(update={"mailpit_url": url}).received_mails(run="run1")

    assert len(found) == 400
    assert found[-1] == ReceivedMail("<0@orderly.example>", datetime(2026, 11, 28, 21, 17, 55, 277000, tzinfo=UTC))
    assert len(mails) > composed.PAGE_MAILS


def _message(number: int, *, to: str) -> dict[str, object]:
    return {
        "MessageID": f"{number}@orderly.example",
        "To": [{"Name": "", "Address": to}],
        "Created": "2026-11-28T21:17:55.277Z",
    }


@contextmanager
def _mailpit(mails: list[dict[str, object]]) -> Iterator[str]:
    """Serve the mails as Mailpit does."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            start, limit = int(query["start"][0]), int(query["limit"][0])
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"messages": mails[start : start + limit]}).encode())

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
