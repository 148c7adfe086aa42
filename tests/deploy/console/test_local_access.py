"""The access of the console of make run, and what a console elsewhere refuses."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from deploy.console.access.local import LocalAccess
from deploy.console.services import Services
from deploy.console.settings import ConsoleSettings
from tests.deploy.console.running_console import NOBODY, Console

URLS = {f"{service}_url": NOBODY for service in ("gateway", "users", "orders", "notifications")}


async def test_only_loopback_names_lead_to_the_local_console(console: Console, tmp_path: Path) -> None:
    services = Services({"users": NOBODY})
    console.app.state.access = LocalAccess(services, email="admin@orderly.example", password_file=tmp_path / "none")
    foreign = await console.client.get("http://rebound.example:8090/api/v1/system")
    assert (foreign.status_code, foreign.json()["code"]) == (403, "foreign_host")
    await services.close()


def test_the_admins_password_is_refused_on_an_address_that_others_reach(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("secret")
    with pytest.raises(ValidationError, match="would make everybody an admin"):
        ConsoleSettings(folder=tmp_path, http_host="0.0.0.0", local_admin_password_file=password, **URLS)  # type: ignore[arg-type]


async def test_without_a_supervisor_nothing_can_be_stopped_or_broken(console: Console) -> None:
    for path, body in (
        ("/api/v1/system/processes/orders/actions", {"action": "kill"}),
        ("/api/v1/break-it/faults/kill_broker", {}),
        ("/api/v1/break-it/load", {}),
    ):
        response = await console.client.post(path, json=body)
        assert (response.status_code, response.json()["code"]) == (403, "local_only"), path
    assert 'href="/break-it"' not in await console.page("/")


async def test_services_that_are_away_hide_no_page(console: Console) -> None:
    for path in ("/", "/flow", "/dead-letters", "/dead-letters/actions", "/stuck", "/invariants", "/exports"):
        assert "<h1>" in await console.page(path), path
    stuck = await console.get("/api/v1/stuck")
    assert stuck["unavailable"].keys() == {"users", "orders", "notifications"}
    orders = await console.client.get("/orders")
    assert (orders.status_code, "does not answer" in orders.text) == (502, True)
