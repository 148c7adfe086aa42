"""Each finding names a command, and that command, run for real, settles it."""

import asyncio
import shlex
from importlib import import_module
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.audit.auditor import run_once
from deploy.audit.findings import Violation
from deploy.audit.settings import AuditSettings
from tests.deploy.audit.conftest import make_undamaged, writing
from tests.deploy.audit.damage import DAMAGES, Damage
from tests.deploy.audit.transport import transport_of

# A program has to run: it does what is overdue by itself, and no command of an operator replaces it.
BY_A_PROGRAM = {
    "a mail that is not sent yet": "python -m services.notifications serve --role jobs",
    "a job that nobody has begun": "python -m services.orders serve --role jobs",
    "a user's data that no job has opened": "python -m services.orders serve --role jobs",
}
# A republished user is opened by a job, which asks the users service for the key: no process runs here.
BY_A_COMMAND_AND_A_JOB = {"a mail to a recipient who is not known yet"}
SETTLED_BY_COMMANDS = [damage for damage in DAMAGES if damage.name not in BY_A_PROGRAM.keys() | BY_A_COMMAND_AND_A_JOB]
MAX_ROUNDS = 3
"""A settled finding may show the next one: a resent event that comes too late is a dead letter."""


@pytest.fixture
def settings(urls: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AuditSettings:
    for service, url in urls.items():
        for prefix in (service.upper(), f"AUDIT_{service.upper()}"):
            monkeypatch.setenv(f"{prefix}_DATABASE_URL", url)
        monkeypatch.setenv(f"{service.upper()}_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9")
    monkeypatch.setenv("AUDIT_STATE_FILE", str(tmp_path / "audit.json"))
    monkeypatch.setenv("AUDIT_GRACE_SECONDS", "0")
    return AuditSettings()


@pytest.mark.usefixtures("restored_logging")
def test_the_commands_of_all_findings_settle_them(urls: dict[str, str], settings: AuditSettings) -> None:
    # One after the other in the same databases: making new ones for each damage would take minutes.
    assert {damage.name: _left(damage, urls, settings) for damage in SETTLED_BY_COMMANDS} == {
        damage.name: [] for damage in SETTLED_BY_COMMANDS
    }


@pytest.mark.parametrize("name", BY_A_PROGRAM)
async def test_what_is_overdue_names_the_program_that_has_to_run(
    name: str, urls: dict[str, str], settings: AuditSettings
) -> None:
    (damage,) = [each for each in DAMAGES if each.name == name]

    assert [violation.command for violation in await _damage(damage, urls, settings)] == [BY_A_PROGRAM[name]]


def _left(damage: Damage, urls: dict[str, str], settings: AuditSettings) -> list[str]:
    """Do the damage, run the commands of what is found, and return what is found after that.

    Not in an event loop: each command runs one of its own, as in a process.
    """
    violations = asyncio.run(_damage(damage, urls, settings))
    assert {violation.invariant for violation in violations} == damage.found.keys()
    for _ in range(MAX_ROUNDS):
        before = {violation.id for violation in violations}
        for violation in violations:
            # The relay's work is done by the transport.
            if violation.command != "python -m services.orders serve --role relay":
                _execute(violation.command)
        violations = asyncio.run(_deliver_and_find(urls, settings))
        assert before.isdisjoint(violation.id for violation in violations), violations
        if not violations:
            break
    return [violation.text for violation in violations]


def _execute(command: str) -> None:
    """Run a command of a finding in this process, as its arguments stand there."""
    python, dash_m, module, *arguments = shlex.split(command)
    assert (python, dash_m) == ("python", "-m")
    result = CliRunner().invoke(import_module(f"{module}.__main__").cli, arguments)
    assert result.exit_code == 0, f"{command}: {result.output} {result.exception!r}"


async def _damage(damage: Damage, urls: dict[str, str], settings: AuditSettings) -> list[Violation]:
    """Make the databases undamaged, then damage them; return what is found."""
    settings.state_file.unlink(missing_ok=True)
    async with writing(urls) as databases:
        await make_undamaged(databases)
        await databases[damage.service].execute(damage.sql)
    return (await run_once(settings, full=False))[0].reported


async def _deliver_and_find(urls: dict[str, str], settings: AuditSettings) -> list[Violation]:
    async with transport_of(urls) as transport:
        await transport.deliver()
    return (await run_once(settings, full=False))[0].reported
