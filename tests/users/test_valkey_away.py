"""Signing in and up while Valkey is stopped, or does not answer: with stricter limits of each process."""

import os
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from deploy.local.ports import free_port
from deploy.local.valkey import Valkey
from services.users.app import create_app
from services.users.settings import Settings
from tests.harness.asgi import client_of
from tests.harness.waiting import until
from tests.users.service import ADA, PASSWORD, UsersService


@pytest.fixture
async def valkey(tmp_path: Path) -> AsyncIterator[tuple[str, int]]:
    """A Valkey of this test alone: its URL, and the id of its process."""
    server = Valkey(folder=tmp_path / "valkey", port=free_port(), durable=False)
    program = server.program()
    with subprocess.Popen(program.command, stdout=subprocess.DEVNULL) as process:  # noqa: ASYNC220 - it starts at once
        await until(program.ready, what="Valkey is ready")
        yield server.url, process.pid
        process.kill()


@pytest.fixture
async def service(settings: Settings, valkey: tuple[str, int]) -> AsyncIterator[UsersService]:
    url, _ = valkey
    strict = {"valkey_url": url, "sign_up_limit_per_email": "4/hour", "sign_in_free_failures": 4}
    app = create_app(settings.model_copy(update=strict))
    async with client_of(app) as client:
        yield UsersService(app, client)
    await app.state.sessions.kw["bind"].dispose()
    await app.state.cache.close()


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGSTOP])
async def test_sign_in_works_without_valkey_and_its_delays_begin_earlier(
    service: UsersService, valkey: tuple[str, int], signal_number: signal.Signals
) -> None:
    await service.sign_up()
    await service.sign_in()
    service.http.cookies.clear()
    os.kill(valkey[1], signal_number)

    with capture_logs() as logs:
        await service.sign_in()
        codes = []
        for password in ["wrong password"] * 3 + [PASSWORD]:
            body = {"email": ADA["email"], "password": password}
            codes.append((await service.http.post("/v1/sessions", json=body, headers={"Cookie": ""})).json()["code"])

    assert codes == ["credentials_invalid"] * 2 + ["too_many_attempts"] * 2
    assert "attempts_counted_locally" in [entry["event"] for entry in logs]


async def test_addresses_can_not_be_harvested_without_valkey(service: UsersService, valkey: tuple[str, int]) -> None:
    await service.sign_up()
    os.kill(valkey[1], signal.SIGKILL)

    responses = [await service.http.post("/v1/users", json=ADA) for _ in range(3)]

    assert [response.json()["code"] for response in responses] == ["email_taken"] * 2 + ["rate_limited"]
    assert 3_500 < int(responses[-1].headers["retry-after"]) <= 3_600
