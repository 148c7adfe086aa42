"""The control socket: each action on a process, who may use it, and what it answers to nonsense."""

import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from deploy.local.__main__ import cli
from deploy.local.control_client import ControlClient
from deploy.local.control_protocol import MAX_REQUEST_BYTES, ControlError
from deploy.local.lifecycle import State
from deploy.local.process import Program
from tests.deploy.controlled import Controlled, controlled, events_of
from tests.deploy.stand_in_programs import SHORT_LIVED, program


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[Controlled]:
    async with controlled(tmp_path) as running:
        yield running


async def test_each_action_changes_a_process_and_the_status_shows_it(system: Controlled) -> None:
    await system.start("shop", "bank")
    client = system.client

    first = await system.status_of("shop")
    assert (first.state, first.restarts, first.last_exit, first.needs) == (State.READY, 0, None, [])
    assert first.pid == system.target.supervisor.children["shop"].process.pid
    assert first.memory_bytes > 0
    assert first.started_at is not None
    assert first.log_file == str(system.folder / "logs" / "shop.log")

    stopped = await client.stop("shop")
    assert (stopped.state, stopped.pid, stopped.started_at) == (State.STOPPED, None, None)
    assert stopped.last_exit == "exited with status 0"
    assert (await client.start("shop")).state is State.READY

    restarted = await client.restart("shop")
    assert restarted.state is State.READY
    assert restarted.pid != first.pid

    killed = await client.kill("shop")
    assert (killed.state, killed.last_exit) == (State.RESTARTING, "was killed by SIGKILL")
    again = await system.until("shop", lambda each: each.state is State.READY)
    assert again.restarts == 1
    assert again.pid != restarted.pid
    expected = ["started", "ready", "stopping", "exited", "stopped"] * 2 + ["started", "ready", "killed"]
    assert events_of(again) == [*expected, "started", "ready"]
    assert (await system.status_of("bank")).restarts == 0


async def test_a_suspended_process_continues_at_resume_or_after_its_time(system: Controlled) -> None:
    await system.start("shop")

    suspended = await system.client.suspend("shop", seconds=60)
    assert (suspended.state, suspended.suspended_until is not None) == (State.SUSPENDED, True)
    process = await system.until_suspended("shop")
    assert process.pid == suspended.pid

    resumed = await system.client.resume("shop")
    assert (resumed.state, resumed.suspended_until) == (State.READY, None)
    assert process.status() != psutil.STATUS_STOPPED

    await system.client.suspend("shop", seconds=0.1)
    await system.until("shop", lambda each: each.state is State.READY)
    assert process.status() != psutil.STATUS_STOPPED

    await system.client.suspend("shop", seconds=60)
    assert (await system.client.stop("shop")).last_exit == "exited with status 0"


async def test_a_process_that_others_need_is_stopped_by_force_only_and_they_start_after_it(system: Controlled) -> None:
    await system.start("orders-postgres", "kafka", "valkey", "orders")

    with pytest.raises(ControlError, match=r"orders need kafka\. Stop them first") as refused:
        await system.client.stop("kafka")
    assert refused.value.code == "needed"
    assert (await system.client.stop("kafka", force=True)).state is State.STOPPED
    assert (await system.client.stop("orders")).state is State.STOPPED
    with pytest.raises(ControlError, match="orders needs kafka: start that first") as refused:
        await system.client.start("orders")
    assert refused.value.code == "needs"
    await system.client.start("kafka")
    assert (await system.client.start("orders")).needs == ["orders-postgres", "kafka", "valkey"]


async def test_a_process_that_does_not_become_ready_is_reported_with_its_last_lines(system: Controlled) -> None:
    await system.start("shop")
    await system.client.stop("shop")
    system.target.supervisor.lifecycles["shop"].program = _short_lived(system.folder)

    with pytest.raises(ControlError, match=r"(?s)shop exited with status 3.*out of memory") as failed:
        await system.client.start("shop")

    assert failed.value.code == "failed"
    status = await system.status_of("shop")
    assert (status.state, status.last_exit) == (State.STOPPED, "exited with status 3")


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        (b"{", "bad_request", "The request is not JSON"),
        (b"\xff", "bad_request", "The request is not JSON"),
        (b"[]", "bad_request", ""),
        (b"{}", "bad_request", "The request has no known action. Known are: status, start"),
        (b'{"action": "explode"}', "bad_request", "The request has no known action."),
        (b'{"action": "start"}', "bad_request", "process: Field required."),
        (b'{"action": "status", "more": 1}', "bad_request", "more: Extra inputs are not permitted."),
        (b'{"action": "suspend", "process": "shop", "seconds": 601}', "bad_request", "seconds: Input should be less"),
        (b'{"action": "suspend", "process": "shop", "seconds": NaN}', "bad_request", "seconds: "),
        (b'{"action": "kill", "process": "mint"}', "unknown_process", "There is no process mint. Known are: shop."),
        (b'{"action": "start", "process": "shop"}', "wrong_state", "shop is ready already."),
        (b'{"action": "resume", "process": "shop"}', "wrong_state", "shop is not suspended."),
        (b'{"action": "fault", "fault": "flood"}', "bad_request", "There is no fault flood. Known are: kill_leading"),
        (
            b'{"action": "fault", "fault": "kill_service", "parameters": {"service": "mint"}}',
            "bad_request",
            "service: Input should be 'users', 'orders' or 'notifications'.",
        ),
        (b'{"action": "fault", "fault": "kill_broker"}', "unavailable", "kafka does not run here."),
        (b'{"action": "comparison"}', "wrong_state", "No comparison was started."),
        (b'{"action": "start_comparison", "build": "right"}', "bad_request", "build: Input should be 'acknowledge"),
    ],
)
async def test_what_cannot_be_done_is_answered_with_the_reason(
    system: Controlled, line: bytes, code: str, message: str
) -> None:
    await system.start("shop")

    refused, status = await system.exchange(line, b'{"action": "status"}')

    assert (refused["ok"], refused["error"]["code"]) == (False, code)
    assert message in refused["error"]["message"]
    assert status["result"]["processes"][0]["state"] == "ready"


async def test_a_request_without_end_is_refused(system: Controlled) -> None:
    (answer,) = await system.exchange(b"x" * (MAX_REQUEST_BYTES + 1))

    assert answer["error"] == {"code": "bad_request", "message": "The request is longer than 65536 bytes."}


async def test_only_its_owner_can_use_the_socket_and_a_long_path_gets_a_short_one(tmp_path: Path) -> None:
    deep = tmp_path / ("a" * 100)
    deep.mkdir()
    async with controlled(tmp_path, socket_folder=deep) as system:
        path = system.server.path
        assert len(os.fsencode(path)) <= 100
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert (await system.client.status()).processes == []
    assert not path.parent.exists()


async def test_changes_are_refused_while_the_system_stops_and_nobody_answers_afterwards(system: Controlled) -> None:
    await system.start("shop")
    # A socket of a system that was killed does not stay in the way.
    await system.control.stop()

    with pytest.raises(ControlError) as refused:
        await system.client.kill("shop")
    assert refused.value.code == "stopping"
    assert (await system.client.status()).processes[0].state is State.READY

    await system.server.close()
    with pytest.raises(ControlError) as refused:
        await system.client.status()
    assert refused.value.code == "unreachable"
    assert not system.server.path.exists()


def test_the_commands_say_that_no_system_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERLY_FOLDER", str(tmp_path))

    for command in (["control", "status"], ["control", "fault", "kill_broker"], ["break", "--minutes", "0"]):
        result = CliRunner().invoke(cli, command)
        assert result.exit_code == 1
        assert "The system is not running. `make run` starts it." in " ".join(result.output.split())


async def test_a_client_of_no_socket_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="The system is not running"):
        await ControlClient(tmp_path / "control.sock").status()


def _short_lived(folder: Path) -> Program:
    async def never() -> bool:
        return False

    return program(folder, "shop", script=SHORT_LIVED, ready=never)
