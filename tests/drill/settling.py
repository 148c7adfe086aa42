"""The audit after a round: what it finds, and whether the commands that it names settle that."""

import asyncio
import json
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from deploy.audit.context import Context
from deploy.audit.databases import connected
from deploy.audit.findings import Violation
from deploy.audit.invariants import check_all
from deploy.local.credentials import SERVICES
from deploy.local.services import Services
from deploy.local.state import CHECKOUT

SETTLE_SECONDS = 90.0
"""Time for events and mails that are on their way."""
POLL_SECONDS = 1.0
UNCHANGED_SECONDS = 15.0
"""Time after which an unchanged finding does not settle by itself. A mail's retry takes less."""
MAX_ROUNDS = 4
"""Rounds of commands: one of them may leave work to another, such as a republished order to its customer's account."""
ACCEPT = "python -m deploy.audit accept "


@dataclass
class Settlement:
    """The findings of one audit, and what became of them."""

    found: list[Violation] = field(default_factory=list)
    """The findings that did not settle by themselves."""
    left: list[Violation] = field(default_factory=list)
    """The findings that the commands have not settled either."""
    accepted: int = 0
    """The number of findings that nothing makes whole, and that an operator accepts."""
    failed: list[str] = field(default_factory=list)
    """The commands of the last round that failed, with their output."""


async def settle(services: Services, databases: Mapping[str, str], *, accepted: set[str]) -> Settlement:
    """Wait until nothing changes by itself, then run the command of every finding until there is none.

    `accepted`: the ids of findings that were accepted, to which those of this round are added.
    """
    before = len(accepted)
    found = await _findings_at_rest(databases, accepted)
    settlement = Settlement(found=found, left=_accept(found, accepted))
    for _ in range(MAX_ROUNDS):
        if not settlement.left:
            break
        settlement.failed = await _execute(services, list(dict.fromkeys(each.command for each in settlement.left)))
        settlement.left = _accept(await _findings_at_rest(databases, accepted), accepted)
    settlement.accepted = len(accepted) - before
    return settlement


def _accept(found: Sequence[Violation], accepted: set[str]) -> list[Violation]:
    """Accept the findings that nothing makes whole, and return the others."""
    accepted.update(each.id for each in found if each.command.startswith(ACCEPT))
    return [each for each in found if each.id not in accepted]


async def _findings_at_rest(databases: Mapping[str, str], accepted: Collection[str]) -> list[Violation]:
    """Return what the audit finds beside the accepted findings, once that has not changed for a while."""
    loop = asyncio.get_running_loop()
    deadline, changed_at = loop.time() + SETTLE_SECONDS, loop.time()
    before: set[str] | None = None
    async with connected(databases) as connections:
        while True:
            context = Context(connections, datetime.now(UTC), grace=timedelta(0), at_rest=True)
            found = {violation async for _, page in check_all(context) for violation in page}
            found = {violation for violation in found if violation.id not in accepted}
            ids = {violation.id for violation in found}
            if ids != before:
                before, changed_at = ids, loop.time()
            if not found or loop.time() > min(deadline, changed_at + UNCHANGED_SECONDS):
                return sorted(found)
            await asyncio.sleep(POLL_SECONDS)


async def _execute(services: Services, commands: Sequence[str]) -> list[str]:
    """Execute commands one after the other; return those that failed, with what they printed.

    In one process, because a process for each of a hundred commands would take minutes.
    """
    environment: dict[str, str] = {}
    for service in SERVICES:
        environment |= services.environment(service)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.drill.execute",
        cwd=CHECKOUT,
        env=os.environ | environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate("\n".join(commands).encode())
    failed: list[str] = json.loads(output)
    return failed
