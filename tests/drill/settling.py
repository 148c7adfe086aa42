"""The audit after a round: what it finds, and whether the commands that it names settle that."""

import asyncio
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib import import_module

from typer.testing import CliRunner

from deploy.audit.context import Context
from deploy.audit.databases import connected
from deploy.audit.findings import Violation
from deploy.audit.invariants import check_all
from deploy.local.services import Services

SETTLE_SECONDS = 90.0
"""Time for events and mails that are on their way."""
POLL_SECONDS = 1.0
UNCHANGED_SECONDS = 15.0
"""Time after which an unchanged finding does not settle by itself. A mail's retry takes less."""
MAX_ROUNDS = 4
"""Rounds of commands: one of them may leave work to another, such as a republished order to its customer's account."""
NOTE = '"..."'


@dataclass
class Settlement:
    """The findings of one audit, and what became of them."""

    found: list[Violation] = field(default_factory=list)
    """The findings that did not settle by themselves."""
    left: list[Violation] = field(default_factory=list)
    """The findings that the commands have not settled either."""
    failed: list[str] = field(default_factory=list)
    """Commands that failed, with their output."""


async def settle(services: Services, databases: Mapping[str, str]) -> Settlement:
    """Wait until nothing changes by itself, then run the command of every finding until there is none."""
    settlement = Settlement(found=await _findings_at_rest(databases))
    settlement.left = settlement.found
    for _ in range(MAX_ROUNDS):
        if not settlement.left:
            break
        # One after the other: two of them may be about the same order.
        for command in dict.fromkeys(violation.command for violation in settlement.left):
            settlement.failed += await asyncio.to_thread(_execute, services, command)
        settlement.left = await _findings_at_rest(databases)
    return settlement


async def _findings_at_rest(databases: Mapping[str, str]) -> list[Violation]:
    """Return what the audit finds once that has not changed for a while."""
    loop = asyncio.get_running_loop()
    deadline, changed_at = loop.time() + SETTLE_SECONDS, loop.time()
    before: set[str] | None = None
    async with connected(databases) as connections:
        while True:
            context = Context(connections, datetime.now(UTC), grace=timedelta(0), at_rest=True)
            found = [violation async for _, page in check_all(context) for violation in page]
            ids = {violation.id for violation in found}
            if ids != before:
                before, changed_at = ids, loop.time()
            if not found or loop.time() > min(deadline, changed_at + UNCHANGED_SECONDS):
                return sorted(set(found))
            await asyncio.sleep(POLL_SECONDS)


def _execute(services: Services, command: str) -> list[str]:
    """Execute a command as its arguments stand there; return what it printed if it failed.

    In this process, because a process for each of a hundred commands would take minutes.
    """
    _python, _option, module, *arguments = shlex.split(command.replace(NOTE, "drill"))
    environment = services.environment(module.rpartition(".")[2])
    result = CliRunner(env=environment).invoke(import_module(f"{module}.__main__").cli, arguments)
    return [f"{command}: {result.output.strip()} {result.exception!r}"] if result.exit_code else []
