"""`python -m deploy.local run`, `status`, `migrate` and `stop`."""

import asyncio
import signal
from typing import NoReturn

import typer
from pydantic import ValidationError

from deploy.local.credentials import SERVICES, ensure_credentials
from deploy.local.ports import check_ports_are_free
from deploy.local.process import LocalError
from deploy.local.screen import Screen
from deploy.local.services import Services
from deploy.local.settings import LocalSettings
from deploy.local.state import only_one, read_state, state_file, stop_running
from deploy.local.system import System
from deploy.local.table import system_table

# What a killed run leaves behind is ended by the kernel, but not all at once.
LEFTOVERS_TIMEOUT_SECONDS = 5

cli = typer.Typer(help="Orderly on this machine: real servers as local processes.", pretty_exceptions_enable=False)


@cli.command()
def run() -> None:
    """Start everything, show what runs where, and keep it running until Ctrl-C."""
    screen, settings = Screen(), _settings()
    failures: list[str] = []
    try:
        with only_one(settings.folder):
            was_killed = state_file(settings.folder).exists()
            check_ports_are_free(settings.ports(), timeout_seconds=LEFTOVERS_TIMEOUT_SECONDS if was_killed else 0)
            credentials = ensure_credentials(settings.folder / "secrets")
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
    """Show what runs where."""
    screen, state = Screen(), read_state(_settings().folder)
    if state is None:
        _fail(screen, "Nothing runs: `make run` starts the system.")
    screen.table(system_table(state))


@cli.command()
def stop() -> None:
    """Stop a running system, and wait until it has stopped."""
    screen = Screen()
    screen.note("Stopped." if stop_running(_settings().folder) else "Nothing runs.")


@cli.command()
def migrate() -> None:
    """Bring the databases of a running system to the newest schema."""
    screen, settings = Screen(), _settings()
    state = read_state(settings.folder)
    if state is None:
        _fail(screen, "Nothing runs: `make run` starts the system, and migrates as it does.")
    services = Services(
        settings=settings,
        credentials=ensure_credentials(settings.folder / "secrets"),
        kafka_bootstrap_servers=state["kafka_bootstrap_servers"],
    )
    try:
        for service in SERVICES:
            with screen.step(f"{service} migrates", f"{service}: schema and topics"):
                asyncio.run(services.migrate(service))
    except LocalError as error:
        _fail(screen, str(error))


async def _run(system: System, settings: LocalSettings, screen: Screen) -> None:
    asked_to_stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, asked_to_stop.set)
    starting = asyncio.create_task(system.start())
    waiting = asyncio.create_task(asked_to_stop.wait())
    idle_work: asyncio.Task[None] | None = None
    try:
        with screen.working():
            await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
        if not asked_to_stop.is_set():
            screen.table(system_table(read_state(settings.folder) or {}))
            screen.note("Ctrl-C stops it all.")
            idle_work = asyncio.create_task(system.prepare_next_start())
        await waiting
    finally:
        for task in (starting, idle_work):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        with screen.working(), screen.step("Everything stops", "Everything has stopped"):
            await system.stop()


def _settings() -> LocalSettings:
    try:
        return LocalSettings()
    except ValidationError as error:
        _fail(Screen(), *(f"ORDERLY_{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors()))


def _messages(errors: "ExceptionGroup[LocalError]") -> list[str]:
    """Each once: what several parts waited for fails all of them."""
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
