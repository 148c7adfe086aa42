"""A console in this process, with a receiver of telemetry at a free port, and services that do not answer."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from fastapi import FastAPI, Request
from google.protobuf.message import Message

from deploy.console.access.operator import Operator
from deploy.console.app import create_app
from deploy.console.settings import ConsoleSettings
from deploy.console.telemetry.store import TelemetryStore
from tests.harness.asgi import client_of

NOBODY = "http://127.0.0.1:1"
"""An address at which nothing listens."""


class EverybodyIsAdmin:
    """An access without sign-in: no users service is needed."""

    async def operator_of(self, request: Request) -> Operator:  # noqa: ARG002 - as in `Access`
        return Operator(user_id="0199a6e2-7c1e-7b7c-8a55-0d6b8f4f2c11", token="none", is_local=True)

    async def close(self) -> None:
        pass


@dataclass(frozen=True)
class Console:
    """A running console."""

    app: FastAPI
    client: httpx2.AsyncClient
    """Sends requests to the application without a network."""
    otlp: httpx2.AsyncClient
    """Sends requests to the receiver of telemetry at its port."""
    logs: Path
    """The folder of the log files of local processes."""

    @property
    def telemetry(self) -> TelemetryStore:
        store: TelemetryStore = self.app.state.telemetry
        return store

    async def export(self, signal: str, request: Message, **headers: str) -> httpx2.Response:
        """Send an export request as an exporter does."""
        given = {
            "Content-Type": "application/x-protobuf",
            **{name.replace("_", "-"): headers[name] for name in headers},
        }
        return await self.otlp.post(f"/v1/{signal}", content=request.SerializeToString(), headers=given)

    async def get(self, path: str, **params: str) -> Any:
        """Return the JSON that a path responds with."""
        response = await self.client.get(path, params=params)
        assert response.status_code == 200, response.text
        return response.json()

    async def page(self, path: str, **params: str) -> str:
        """Return the HTML of a page."""
        response = await self.client.get(path, params=params)
        assert response.status_code == 200, response.text
        return response.text


@asynccontextmanager
async def running_console(folder: Path, **settings: Any) -> AsyncIterator[Console]:
    """Run a console whose files are in a folder."""
    logs = folder / "logs"
    logs.mkdir(exist_ok=True)
    services = {f"{service}_url": NOBODY for service in ("gateway", "users", "orders", "notifications")}
    options = {"folder": folder, "logs_folder": logs, "otlp_port": 0, **services, **settings}
    app = create_app(ConsoleSettings(**options))
    app.state.access = EverybodyIsAdmin()
    async with app.router.lifespan_context(app):
        otlp_url = f"http://127.0.0.1:{app.state.otlp_port}"
        async with client_of(app) as client, httpx2.AsyncClient(base_url=otlp_url) as otlp:
            yield Console(app, client, otlp, logs)
