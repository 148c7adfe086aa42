"""The console for programs: its commands, and the tools of the MCP server, with the SDK's client."""

import asyncio
import json
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from mcp.client.client import Client
from typer.testing import CliRunner

from deploy.console.__main__ import cli
from deploy.console.client import ConsoleClient
from deploy.mcp.server import create_server
from tests.deploy.console.running_console import NOBODY, Console
from tests.harness.asgi import served

READS = {"health", "order_journey", "stuck", "audit", "flow", "dead_letters", "events", "metrics"}


@pytest.fixture
async def url(console: Console) -> AsyncIterator[str]:
    async with served(console.app) as address:
        yield address


async def test_the_tools_read_and_say_what_went_wrong(url: str) -> None:
    console = ConsoleClient(url)
    async with Client(create_server(console)) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert tools.keys() == READS
        assert all(tool.annotations is not None and tool.annotations.read_only_hint for tool in tools.values())
        audit = await client.call_tool("audit", {})
        journey = await client.call_tool("order_journey", {"order": "O-2K7WQ9X3"})

        assert (audit.is_error, (audit.structured_content or {})["state"]) == (False, "unknown")
        assert (journey.is_error, "does not answer" in str(journey.content)) == (True, True)
    await console.close()


async def test_the_tools_that_change_something_are_offered_on_demand_only(url: str) -> None:
    console = ConsoleClient(url)
    async with Client(create_server(console, may_change=True)) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        refused = await client.call_tool("replay_dead_letters", {"service": "orders"})

        assert names == READS | {"replay_dead_letters", "discard_dead_letters"}
        assert (refused.is_error, "Select dead letters" in str(refused.content)) == (True, True)
    await console.close()


async def test_the_commands_print_for_people_and_for_programs(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSOLE_URL", url)
    status, shown = await _run("invariants", "--json")
    assert (status, json.loads(shown.splitlines()[-1])["state"]) == (0, "unknown")
    status, shown = await _run("stuck")
    assert (status, "unavailable:\n  users: The users service does not answer" in shown) == (0, True)
    status, shown = await _run("replay", "orders", "--reason", "failed")
    assert (status, "The orders service does not answer" in shown) == (1, True)
    status, shown = await _run("replay", "orders")
    assert (status, shown.splitlines()[-1]) == (
        1,
        "Select dead letters by a consumer, a key, a type, a reason or an id",
    )
    monkeypatch.setenv("CONSOLE_URL", NOBODY)
    status, shown = await _run("health")
    assert (status, f"The console at {NOBODY}" in shown) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("resend", "orders", "--since", "yesterday"), "since: Input should be a time"),
        (("resend", "nobody", "--since", "2026-11-29T12:00:00"), "service: Input should be 'users'"),
        (("discard-jobs", "users", "--note", "of no use", "-1"), "No such option: -1"),
        (("retry-jobs", "users", "1", "--note", "corrected"), "The users service does not answer"),
        (("resend-delivery", "0199", "--note", "corrected"), "The notifications service does not answer"),
        (("republish", "orders", "--type", "order"), "The orders service does not answer"),
        (("dead-letter", "orders", "17"), "The orders service does not answer"),
        (("operation", "orders", "resends", "0199"), "The orders service does not answer"),
        (("process", "users", "restart"), "Only the console of `make run` can do this"),
        (("trace", "none"), "trace_id: String should match pattern"),
    ],
)
async def test_a_command_says_why_the_console_refuses(
    url: str, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], says: str
) -> None:
    monkeypatch.setenv("CONSOLE_URL", url)

    status, shown = await _run(*arguments)

    assert (status in {1, 2}, says in shown) == (True, True), shown


async def test_traces_logs_and_an_export_are_read_with_commands(
    url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CONSOLE_URL", url)
    file = tmp_path / "export.zip"

    traces, logs = await _run("traces", "--failed", "--json"), await _run("logs", "--level", "error", "--json")
    written, again = await _run("export", str(file), "--json"), await _run("export", str(file))

    assert [(status, json.loads(shown.splitlines()[-1])["items"]) for status, shown in (traces, logs)] == [(0, [])] * 2
    assert json.loads(written[1].splitlines()[-1]) == {"file": str(file), "bytes": file.stat().st_size}
    assert zipfile.is_zipfile(file)
    assert (again[0], again[1].splitlines()[-1]) == (1, f"{file} cannot be written: File exists")


def test_an_export_that_fails_leaves_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CONSOLE_URL", NOBODY)

    result = CliRunner().invoke(cli, ["export", str(tmp_path / "export.zip")])

    assert (result.exit_code, list(tmp_path.iterdir())) == (1, [])


async def _run(*arguments: str) -> tuple[int, str]:
    """Run a command in a thread, since it has an event loop of its own. Return its exit status and its output.

    The lines that the console logs meanwhile are part of the output.
    """
    result = await asyncio.to_thread(CliRunner().invoke, cli, arguments)
    return result.exit_code, result.output
