"""The command line of the local system: `python -m deploy.local --help` lists its commands."""

import asyncio
import json
import secrets
import signal
from typing import Annotated, Any, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console

from deploy.backup.local import check_no_data_are_lost
from deploy.local.control_cli import control, running_client
from deploy.local.control_protocol import ControlError
from deploy.local.credentials import SERVICES, ensure_credentials
from deploy.local.ports import check_ports_are_free
from deploy.local.process import LocalError
from deploy.local.screen import Screen, system_table
from deploy.local.services import Services
from deploy.local.settings import LocalSettings
from deploy.local.shell import become_shell
from deploy.local.state import read_state, single_instance, state_file, stop_running
from deploy.local.system import System

LEFTOVERS_TIMEOUT_SECONDS = 5
"""Maximum wait for the ports of a system that was killed: the kernel takes a moment to end its processes."""

NOT_RUNNING = "The system is not running."

cli = typer.Typer(help="Run Orderly on this machine, as local processes.", pretty_exceptions_enable=False)
cli.add_typer(control, name="control")


@cli.command()
def run() -> None:
    """Start everything, show the processes and their addresses, and keep them running until Ctrl-C."""
    screen, settings = Screen(), _settings()
    failures: list[str] = []
    try:
        with single_instance(settings.folder):
            was_killed = state_file(settings.folder).exists()
            check_ports_are_free(settings.ports(), timeout_seconds=LEFTOVERS_TIMEOUT_SECONDS if was_killed else 0)
            credentials = ensure_credentials(settings.folder / "secrets")
            check_no_data_are_lost(settings)
            try:
                asyncio.run(_run(System(settings, credentials=credentials, screen=screen), settings, screen))
            finally:
                state_file(settings.folder).unlink(missing_ok=True)
    except* LocalError as errors:
        failures = _messages(errors)
    if failures:
        _fail(screen, *failures)


@cli.command()
def status() -> None:
    """Show the processes of the running system, their addresses and their memory."""
    screen, state = Screen(), read_state(_settings().folder)
    if state is None:
        _fail(screen, f"{NOT_RUNNING} `make run` starts it.")
    screen.table(system_table(state))


@cli.command()
def stop() -> None:
    """Stop the running system, and wait until it has stopped."""
    screen = Screen()
    try:
        screen.note("The system has stopped." if stop_running(_settings().folder) else NOT_RUNNING)
    except LocalError as error:
        _fail(screen, str(error))


@cli.command()
def shell(
    command: Annotated[str | None, typer.Option(help="Run this instead of an interactive shell.")] = None,
) -> None:
    """Open a shell in which the commands of the services and of the audit work on the running system."""
    services, state = _running_services()
    if command is None:
        Screen().note("Commands such as `python -m services.orders dead-letters list` work here; `exit` leaves.")
    become_shell(services, state, command=command)


@cli.command("break")
def break_it(
    *,
    minutes: Annotated[float, typer.Option(min=0, help="Time for which faults are injected.")] = 10,
    seed: Annotated[int | None, typer.Option(help="The seed of the faults. Default: a random one.")] = None,
    orders_per_second: Annotated[float, typer.Option(min=0.1, max=50, help="Orders that are placed meanwhile.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Inject random faults into the running system under load, and check every invariant afterwards."""
    # Imported here: no other command needs the audit and the load.
    from deploy.demo.client import RequestFailed  # noqa: PLC0415
    from deploy.faults.random_buttons import RandomButtons  # noqa: PLC0415

    screen, folder = Screen(Console(stderr=True, highlight=False) if as_json else None), _settings().folder
    seed = secrets.randbelow(2**32) if seed is None else seed
    screen.note(f"Injecting random faults for {minutes:g} minutes, with the seed {seed}.")
    try:
        buttons = RandomButtons(running_client(), read_state(folder) or {}, folder=folder, seed=seed, screen=screen)
        result = asyncio.run(buttons.run(minutes=minutes, orders_per_second=orders_per_second))
    except TimeoutError:
        _fail(screen, "A process was not ready again in time: `make status` shows which.")
    except (ControlError, RequestFailed) as error:
        _fail(screen, str(error))
    if as_json:
        print(json.dumps(result.document(), indent=2))
    faults = ", ".join(f"{name} {count}" for name, count in sorted(result.faults.items()))
    screen.note(f"{result.accepted} orders accepted, {result.failed} not. Faults: {faults}.")
    screen.note(f"{result.discarded} poisoned dead letters discarded, {result.replayed} others replayed.")
    for name, violations in result.violated.items():
        screen.error(f"{name}: {len(violations)}, such as: {violations[0]}")
    if result.violated:
        raise typer.Exit(1)
    screen.note(f"All {result.checked} invariants hold.")


@cli.command()
def migrate() -> None:
    """Migrate the databases of the running system to the newest schema, and create new topics."""
    screen = Screen()
    services, _state = _running_services()
    try:
        for service in SERVICES:
            with screen.step(f"Migrating {service}", f"{service}: schema and topics are up to date"):
                asyncio.run(services.migrate(service))
    except LocalError as error:
        _fail(screen, str(error))


async def _run(system: System, settings: LocalSettings, screen: Screen) -> None:
    stop_requested = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop_requested.set)
    starting = asyncio.create_task(system.start())
    waiting = asyncio.create_task(stop_requested.wait())
    idle_work: asyncio.Task[None] | None = None
    try:
        with screen.working():
            await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
        if not stop_requested.is_set():
            screen.table(system_table(read_state(settings.folder) or {}))
            screen.note("Press Ctrl-C to stop everything.")
            idle_work = asyncio.create_task(system.prepare_next_start())
        await waiting
    finally:
        for task in (starting, idle_work):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        with screen.working(), screen.step("Stopping everything", "Everything has stopped"):
            await system.stop()


def _running_services() -> tuple[Services, dict[str, Any]]:
    """Return the services of the running system, and its state."""
    settings = _settings()
    state = read_state(settings.folder)
    if state is None:
        _fail(Screen(), f"{NOT_RUNNING} `make run` starts it.")
    services = Services(
        settings=settings,
        credentials=ensure_credentials(settings.folder / "secrets"),
        kafka_bootstrap_servers=state["kafka_bootstrap_servers"],
    )
    return services, state


def _settings() -> LocalSettings:
    try:
        return LocalSettings()
    except ValidationError as error:
        _fail(Screen(), *(f"ORDERLY_{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors()))


def _messages(errors: "ExceptionGroup[LocalError]") -> list[str]:
    """Return each message once: parts that waited for the same failed part fail with the same error."""
    messages: dict[str, None] = {}
    for error in errors.exceptions:
        found = _messages(error) if isinstance(error, ExceptionGroup) else [str(error)]
        messages.update(dict.fromkeys(found))
    return list(messages)


def _fail(screen: Screen, *messages: str) -> NoReturn:
    for message in messages:
        screen.error(message)
    raise typer.Exit(1)


if __name__ == "__main__":
    cli()
