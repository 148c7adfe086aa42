"""The supervisor restarts processes with backoff, stops them in order, and leaves none behind."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from deploy.local.process import StartFailed
from deploy.local.supervisor import Backoff, Supervisor
from tests.deploy.stand_in_programs import SHORT_LIVED, STUBBORN, program

DEADLINE_SECONDS = 20


class Watched(Supervisor):
    """A supervisor that keeps its reports."""

    def __init__(self, logs: Path) -> None:
        self.reports: list[str] = []
        super().__init__(
            logs=logs,
            report=self.reports.append,
            echo=lambda name, line: self.reports.append(f"{name}: {line}"),
            on_change=lambda: None,
            backoff=Backoff(initial_seconds=0.1, max_seconds=0.3),
        )


@pytest.fixture
async def supervisor(tmp_path: Path) -> AsyncIterator[Watched]:
    watched = Watched(tmp_path / "logs")
    yield watched
    await watched.stop([])


async def test_a_killed_process_is_reported_and_restarted(supervisor: Watched, tmp_path: Path) -> None:
    await supervisor.start(program(tmp_path, "shop"))
    first = supervisor.children["shop"].process.pid

    os.kill(first, signal.SIGKILL)
    await _until(supervisor, "shop is ready again")

    assert supervisor.reports[0] == "shop was killed by SIGKILL; restarting it in 0.1 s"
    assert supervisor.children["shop"].restarts == 1
    assert supervisor.children["shop"].process.pid != first


@pytest.mark.parametrize("kill", [False, True])
async def test_one_process_stops_and_the_others_keep_running(supervisor: Watched, tmp_path: Path, kill: bool) -> None:
    await supervisor.start(program(tmp_path, "shop"))
    await supervisor.start(program(tmp_path, "bank"))
    stopped, other = (supervisor.children[name].process for name in ("shop", "bank"))

    await supervisor.stop_one("shop", kill=kill)

    assert stopped.exit_status == (-signal.SIGKILL if kill else 0)
    assert other.exit_status is None
    assert list(supervisor.children) == ["bank"]
    assert supervisor.reports == []


async def test_a_stop_that_comes_as_a_killed_process_ends_is_not_ignored(supervisor: Watched, tmp_path: Path) -> None:
    await supervisor.start(program(tmp_path, "shop"))
    child = supervisor.children["shop"]
    assert child.watch is not None
    output_ends = asyncio.get_running_loop().create_future()
    child.process._reading = output_ends  # type: ignore[assignment]  # it ends at a chosen moment
    child.process.kill()
    await child.process._child.wait()
    for _ in range(5):
        await asyncio.sleep(0)

    output_ends.set_result(None)
    async with asyncio.timeout(DEADLINE_SECONDS):
        await supervisor.stop_one("shop")

    assert supervisor.reports == []


async def test_the_delay_before_a_restart_doubles_up_to_its_maximum(supervisor: Watched, tmp_path: Path) -> None:
    await supervisor.start(program(tmp_path, "shop", script=SHORT_LIVED))

    await _until(supervisor, "exited with status 3; restarting it in 0.3 s", times=2)

    delays = [report.split()[-2] for report in supervisor.reports if "restarting" in report]
    assert delays[:4] == ["0.1", "0.2", "0.3", "0.3"]


async def test_groups_stop_one_after_the_other(supervisor: Watched, tmp_path: Path) -> None:
    for name in ("database", "gateway", "shop"):
        await supervisor.start(program(tmp_path, name))

    await supervisor.stop([["shop"], ["gateway"], ["database"]])

    assert (tmp_path / "stopped").read_text().split() == ["shop", "gateway", "database"]
    assert supervisor.children == {}


async def test_a_process_that_ignores_sigterm_is_killed_with_its_children(supervisor: Watched, tmp_path: Path) -> None:
    await supervisor.start(program(tmp_path, "mule", script=STUBBORN, stop_timeout_seconds=0.2))

    await supervisor.stop([["mule"]])

    assert supervisor.reports == ["mule did not stop within 0.2 s and was killed"]
    await _until_gone(int((tmp_path / "child.pid").read_text()))


async def test_a_program_that_exits_before_it_is_ready_fails_with_its_last_lines(
    supervisor: Watched, tmp_path: Path
) -> None:
    async def never() -> bool:
        return False

    with pytest.raises(StartFailed, match=r"(?s)shop exited with status 3.*out of memory"):
        await supervisor.start(program(tmp_path, "shop", script=SHORT_LIVED, ready=never))


async def test_the_log_has_lines_that_are_not_echoed(supervisor: Watched, tmp_path: Path) -> None:
    await supervisor.start(program(tmp_path, "shop"))
    await supervisor.stop([["shop"]])

    assert "WARNING: at the start" in (tmp_path / "logs" / "shop.log").read_text()
    assert supervisor.reports == []


async def test_no_process_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    script = """
import asyncio, pathlib, sys
from tests.deploy.stand_in_programs import program
from tests.deploy.test_supervisor import Watched

async def main():
    folder = pathlib.Path(sys.argv[1])
    await Watched(folder / "logs").start(program(folder, "shop"))
    (folder / "started").touch()
    await asyncio.sleep(600)

asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", script, tmp_path]) as killed:  # noqa: ASYNC220 - its output is not read
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not (tmp_path / "started").exists():  # noqa: ASYNC110 - another process makes the file
                await asyncio.sleep(0.05)
        killed.kill()
    await _until_gone(int((tmp_path / "shop.pid").read_text()))


async def _until(supervisor: Watched, report: str, *, times: int = 1) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while sum(report in seen for seen in supervisor.reports) < times:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def _until_gone(pid: int) -> None:
    with suppress(psutil.NoSuchProcess):
        async with asyncio.timeout(DEADLINE_SECONDS):
            while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
