"""`python -m deploy.local control`: the actions of the control socket as commands."""

import asyncio
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from deploy.local.control_client import ControlClient
from deploy.local.control_protocol import ControlError, SystemStatus, WrongBuild
from deploy.local.memory import MEGABYTE
from deploy.local.screen import Screen
from deploy.local.settings import LocalSettings
from deploy.local.state import read_state

control = typer.Typer(help="Control the running system: its processes, faults and wrong builds.", no_args_is_help=True)

Process = Annotated[str, typer.Argument(help="The name that `status` shows.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def running_client() -> ControlClient:
    """Return a client of the running system. Raises: ControlError."""
    state = read_state(LocalSettings().folder)
    if state is None or "control_socket" not in state:
        raise ControlError("unreachable", "The system is not running. `make run` starts it.")
    return ControlClient(Path(state["control_socket"]))


@control.command()
def status(*, as_json: AsJson = False) -> None:
    """Show the state of every process."""
    result = _send(action="status")
    if as_json:
        _print(result)
        return
    found = SystemStatus.model_validate(result)
    table = Table("process", "state", "pid", "memory", "restarts", "last exit", box=None, header_style="bold")
    for each in found.processes:
        memory = f"{each.memory_bytes / MEGABYTE:.0f} MB"
        table.add_row(each.name, each.state, str(each.pid or ""), memory, str(each.restarts), each.last_exit or "")
    Screen().table(table)


@control.command()
def start(process: Process, *, as_json: AsJson = False) -> None:
    """Start a process that was stopped."""
    _change(as_json, action="start", process=process)


@control.command()
def stop(
    process: Process,
    *,
    force: Annotated[bool, typer.Option(help="Even while running processes need it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Stop a process."""
    _change(as_json, action="stop", process=process, force=force)


@control.command()
def restart(process: Process, *, as_json: AsJson = False) -> None:
    """Stop a process and start it again."""
    _change(as_json, action="restart", process=process)


@control.command()
def kill(process: Process, *, as_json: AsJson = False) -> None:
    """Kill a process with SIGKILL. The supervisor restarts it."""
    _change(as_json, action="kill", process=process)


@control.command()
def suspend(
    process: Process,
    *,
    seconds: Annotated[float, typer.Option(help="Time after which it continues.")] = 30,
    as_json: AsJson = False,
) -> None:
    """Suspend a process with SIGSTOP, for a bounded time."""
    _change(as_json, action="suspend", process=process, seconds=seconds)


@control.command()
def resume(process: Process, *, as_json: AsJson = False) -> None:
    """Let a suspended process continue."""
    _change(as_json, action="resume", process=process)


@control.command()
def faults(*, as_json: AsJson = False) -> None:
    """List the faults that can be injected."""
    result = _send(action="faults")
    if as_json:
        _print(result)
        return
    table = Table("fault", "parameters", "description", box=None, header_style="bold")
    for fault in result:
        parameters = ", ".join(f"{name}={each.get('default')}" for name, each in _properties(fault).items())
        table.add_row(fault["name"], parameters, fault["description"])
    Screen().table(table)


@control.command()
def fault(
    name: Annotated[str, typer.Argument(help="The name that `faults` shows.")],
    *,
    parameters: Annotated[list[str] | None, typer.Option("--set", help="A parameter, as name=value.")] = None,
    as_json: AsJson = False,
) -> None:
    """Inject a fault."""
    try:
        given = dict(each.split("=", 1) for each in parameters or [])
    except ValueError:
        raise typer.BadParameter("A parameter is name=value.") from None
    result = _send(action="fault", fault=name, parameters=given)
    _print(result) if as_json else Screen().note(f"{result['did']} {result['ends']}")


@control.command()
def start_comparison(
    build: Annotated[WrongBuild, typer.Argument(help="The mistake.")],
    *,
    orders_per_second: Annotated[float, typer.Option(help="Orders that each build gets.")] = 3,
    fault_every_seconds: Annotated[float, typer.Option(help="Delay between two faults; 0 for none.")] = 8,
    seed: Annotated[int | None, typer.Option(help="The seed of the faults.")] = None,
) -> None:
    """Start a deliberately wrong build beside the right one, with the same load and the same faults."""
    options = {"orders_per_second": orders_per_second, "fault_every_seconds": fault_every_seconds, "seed": seed}
    _print(_send(action="start_comparison", build=build.value, **options))


@control.command()
def comparison() -> None:
    """Show what both builds have accepted, decided and lost."""
    _print(_send(action="comparison"))


@control.command()
def stop_comparison() -> None:
    """Stop the wrong build, and drop its databases and topics."""
    _print(_send(action="stop_comparison"))


def _properties(fault: dict[str, Any]) -> dict[str, Any]:
    properties: dict[str, Any] = fault["parameters"].get("properties", {})
    return properties


def _change(as_json: bool, **request: Any) -> None:
    result = _send(**request)
    _print(result) if as_json else Screen().note(f"{result['name']} is {result['state']}.")


def _send(**request: Any) -> Any:
    try:
        return asyncio.run(running_client().send(**request))
    except ControlError as error:
        Screen().error(str(error))
        raise typer.Exit(1) from error


def _print(result: Any) -> None:
    print(json.dumps(result, indent=2))
