"""`python -m deploy.audit`: run, accept, serve; exit statuses, JSON, metrics, and clear errors."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from deploy.audit.databases import Databases
from deploy.local.ports import free_port
from tests.deploy.audit.damage import set_reserved
from tests.deploy.audit.undamaged import USER
from tests.harness.waiting import until

FINDING = f"credit_is_sum_of_orders:user:{USER}"


@dataclass(frozen=True)
class Audit:
    """The program, with the settings of a test."""

    environment: dict[str, str]

    async def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Run a command, and return its exit status, stdout and stderr."""
        async with self.running(*arguments) as process:
            out, err = await process.communicate()
        return process.returncode or 0, out.decode(), err.decode()

    @asynccontextmanager
    async def running(self, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """Start a command; kill it if it still runs at the end."""
        command = [sys.executable, "-m", "deploy.audit", *arguments]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=PIPE, stderr=PIPE, env={**os.environ, **self.environment}
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()

    async def json(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """Run a command with --json, and return its exit status and its document."""
        status, out, _ = await self("run", *arguments, "--json")
        return status, json.loads(out)


@pytest.fixture
def audit(urls: dict[str, str], tmp_path: Path) -> Audit:
    addresses = {f"AUDIT_{service.upper()}_DATABASE_URL": url for service, url in urls.items()}
    return Audit({**addresses, "AUDIT_STATE_FILE": str(tmp_path / "audit.json")})


async def test_findings_are_printed_as_json_until_they_are_accepted(writable: Databases, audit: Audit) -> None:
    nothing = await audit.json()
    await writable["users"].execute(set_reserved(301))
    found = await audit.json()
    accepted = await audit("accept", FINDING, "--note", "a test")
    again = await audit("accept", FINDING, "--note", "a test")
    quiet = await audit.json("--full")
    await writable["users"].execute(set_reserved(302, before=301))
    changed = await audit.json()

    assert (nothing[0], nothing[1]["findings"]) == (0, [])
    (finding,) = found[1]["findings"]
    assert (found[0], finding) == (
        1,
        {
            "id": FINDING,
            "invariant": "credit_is_sum_of_orders",
            "rule": "Each user's credit is the sum of the orders that hold it",
            "kind": "user",
            "key": USER,
            "text": f"user {USER}: 301 cents reserved and 200 used, but the orders add up to 300 and 200",
            "command": f'python -m services.users credit recompute {USER} --note "..."',
            "first_found_at": found[1]["started_at"],
        },
    )
    assert found[1]["skipped"] == ["topics: AUDIT_KAFKA_BOOTSTRAP_SERVERS is not set"]
    assert (accepted[:2], again[:2]) == ((0, "accepted\n"), (0, "it was accepted before\n"))
    assert (quiet[0], quiet[1]["findings"], quiet[1]["accepted"], quiet[1]["mode"]) == (0, [], 1, "full")
    assert (changed[0], len(changed[1]["findings"])) == (1, 1)


async def test_people_read_what_is_wrong_and_how_to_settle_it(writable: Databases, audit: Audit) -> None:
    await writable["users"].execute(set_reserved(301))

    status, out, _ = await audit("run")

    assert status == 1
    assert "✗ Each user's credit is the sum of the orders that hold it\n" in out
    assert f"\n    python -m services.users credit recompute {USER} --note" in out
    assert "✗ 1 findings (0 accepted) in " in out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"AUDIT_STATE_FILE": "{}/damaged"}, "is no state file of this version"),
        ({"AUDIT_ORDERS_DATABASE_URL": "mysql://"}, "AUDIT_ORDERS_DATABASE_URL: must look like postgresql://"),
        ({"AUDIT_MAX_KEYS": "1"}, "AUDIT_MAX_KEYS: "),
    ],
)
async def test_a_damaged_state_or_a_wrong_setting_is_one_line(
    audit: Audit, tmp_path: Path, changes: dict[str, str], message: str
) -> None:
    (tmp_path / "damaged").write_text("{")
    changed = Audit(audit.environment | {name: value.format(tmp_path) for name, value in changes.items()})

    status, out, error = await changed("run")

    assert (status, out, error.count("\n")) == (2, "", 1)
    assert message in error


async def test_an_unknown_finding_cannot_be_accepted(audit: Audit) -> None:
    status, _, error = await audit("accept", FINDING, "--note", "a test")
    assert (status, error) == (2, f"the last run has found no {FINDING}\n")


async def test_a_database_that_does_not_answer_is_one_line(audit: Audit) -> None:
    away = Audit(audit.environment | {"AUDIT_ORDERS_DATABASE_URL": "postgresql://orders@127.0.0.1:1/orders"})
    status, _, error = await away("run")
    assert (status, error.count("\n")) == (1, 1)
    assert "The database does not answer" in error


async def test_scheduled_runs_publish_metrics_and_end_at_sigterm(writable: Databases, audit: Audit) -> None:
    port = free_port()
    served = Audit(audit.environment | {"AUDIT_HTTP_PORT": str(port)})
    async with served.running("serve", "--every", "1") as process, httpx2.AsyncClient() as client:

        async def page_has(line: str) -> bool:
            try:
                page = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
            except httpx2.TransportError:
                assert process.returncode is None
                return False
            return line in page.splitlines()

        await until(lambda: page_has('audit_violations{invariant="credit_is_sum_of_orders"} 0.0'))
        await writable["users"].execute(set_reserved(301))
        await until(lambda: page_has('audit_violations{invariant="credit_is_sum_of_orders"} 1.0'))
        assert await page_has('audit_checked_keys{kind="user"} 1.0')
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
