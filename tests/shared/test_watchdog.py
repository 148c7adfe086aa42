"""The watchdog ends a process that is not live, even if its event loop is blocked, and the supervisor restarts it."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local.ports import free_port
from deploy.local.process import Program
from deploy.local.readiness import http_answers
from deploy.local.supervisor import Backoff, Supervisor
from shared.database import open_database
from shared.messaging.outbox.outbox import record
from shared.watchdog import EXIT_STATUS
from tests.harness.databases import DatabaseFactory
from tests.harness.service_process import service_environment
from tests.harness.waiting import until
from tests.shared.effects import credit_reserved

_SCRIPT = """
import ctypes, time
from shared.watchdog import Watchdog

def find_stuck():
    return {stuck}

Watchdog(find_stuck, limit_seconds=1, max_event_loop_age_seconds=2).start()
{work}
print("the process went on")
"""
_BLOCKED_RELAY = """
import sys, time
from services.orders.__main__ import cli
from shared.messaging.failpoints import arm

def block(place):
    time.sleep(60)

arm({"relay.fetched": block})
sys.argv = ["orders"]
cli()
"""


@pytest.mark.parametrize(
    ("stuck", "work", "status", "printed"),
    [
        ("['relay']", "time.sleep(60)", EXIT_STATUS, ["process_ended_by_watchdog", "'relay'", 'File "<string>"']),
        # ctypes.PyDLL keeps Python's lock, so that no other thread of Python runs.
        ("[]", "ctypes.PyDLL(None).sleep(60)", 1, ["Timeout", 'File "<string>"']),
        ("[]", "time.sleep(4)", 0, ["the process went on"]),
        ("1 / 0", "time.sleep(4)", 0, ["watchdog_check_failed", "the process went on"]),
    ],
    ids=["stuck", "lock-held", "live", "check-fails"],
)
async def test_a_process_ends_if_a_loop_stays_stuck(stuck: str, work: str, status: int, printed: list[str]) -> None:
    ended = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", _SCRIPT.format(stuck=stuck, work=work)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    output = ended.stdout + ended.stderr
    assert ended.returncode == status, output
    assert [text for text in printed if text not in output] == []


async def test_a_service_with_a_blocked_event_loop_is_restarted(
    database_factory: DatabaseFactory, valkey_url: str, tmp_path: Path
) -> None:
    database_url = await database_factory("orders")
    database = open_database(database_url, service="orders", pool_size=1)
    reports: list[str] = []
    supervisor = Supervisor(
        logs=tmp_path,
        report=reports.append,
        echo=lambda _name, _line: None,
        on_change=lambda: None,
        backoff=Backoff(initial_seconds=2),
    )
    port = free_port()
    await supervisor.start(
        Program(
            name="orders",
            command=[sys.executable, "-c", _BLOCKED_RELAY],
            environment=service_environment(database_url, valkey_url, port=port, WATCHDOG_LIMIT_SECONDS="1"),
            ready=lambda: http_answers(port, "/health/ready"),
            address=f"http://127.0.0.1:{port}",
        )
    )
    try:
        async with database.sessions.begin() as session:
            record(session, credit_reserved())

        async def has_exited() -> bool:
            return bool(reports)

        await until(has_exited, what="the process has exited")
        assert reports == [f"orders exited with status {EXIT_STATUS}; restarting it in 2.0 s"]
        # Without an event the relay of the next process does not pass the failpoint.
        connection = await database.engine.connect()
        await connection.exec_driver_sql("DELETE FROM outbox")
        await connection.commit()
        await connection.close()

        async def is_ready_again() -> bool:
            return "orders is ready again" in reports

        await until(is_ready_again, what="the next process is ready")
    finally:
        await supervisor.stop([])
        await database.close()
    log = (tmp_path / "orders.log").read_text()
    assert "process_ended_by_watchdog" in log
    assert "event_loop" in log
    assert "in block" in log, "the stacks name the function that blocks"
