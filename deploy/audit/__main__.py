"""`python -m deploy.audit`: run once, serve scheduled runs, or accept a finding."""
# ruff: noqa: PLC0415 - a command imports what it needs when it runs

import sys
from typing import Annotated

import typer

from deploy.audit.watermarks import StateUnusable
from shared.command import run_command
from shared.logging import configure_logging

Local = Annotated[bool, typer.Option("--local", help="Audit the system of `make run`.")]
Full = Annotated[bool, typer.Option("--full", help="Check all data instead of what has changed.")]
Note = Annotated[str, typer.Option(help="The reason, for the record.")]

cli = typer.Typer(
    help="Find what contradicts the invariants across the services, without changing anything. "
    "The settings are AUDIT_* in the environment.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@cli.command()
def run(
    *,
    full: Full = False,
    local: Local = False,
    grace: Annotated[float | None, typer.Option(min=0, help="Seconds, instead of AUDIT_GRACE_SECONDS.")] = None,
    max_keys: Annotated[int | None, typer.Option(min=100, help="Instead of AUDIT_MAX_KEYS.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of lines.")] = False,
) -> None:
    """Run once. The exit status is 1 if there are findings that nobody has accepted."""
    from deploy.audit import report
    from deploy.audit.auditor import COMMAND_WAIT_SECONDS, run_once
    from deploy.audit.settings import load_settings

    settings = load_settings(local=local)
    given = {"grace_seconds": grace, "max_keys": max_keys}
    settings = settings.model_copy(update={name: value for name, value in given.items() if value is not None})
    configure_logging("audit", level="warning", format="json", stream=sys.stderr)
    try:
        outcome, state = run_command(run_once(settings, full=full, wait_seconds=COMMAND_WAIT_SECONDS))
    except StateUnusable as error:
        raise _unusable(error) from error
    for line in [report.as_json(outcome, state)] if as_json else report.as_lines(outcome, state):
        print(line)
    if outcome.reported:
        raise typer.Exit(1)


@cli.command()
def serve(
    *,
    every: Annotated[float, typer.Option(min=1, help="Seconds from the start of a run to the start of the next.")] = 60,
    local: Local = False,
) -> None:
    """Run at an interval, and serve /metrics and /findings."""
    from deploy.audit.serving import serve as serve_runs
    from deploy.audit.settings import load_settings

    settings = load_settings(local=local)
    configure_logging("audit", level="info", format="json")
    try:
        run_command(serve_runs(settings, every_seconds=every))
    except StateUnusable as error:
        raise _unusable(error) from error


@cli.command()
def accept(
    finding: Annotated[str, typer.Argument(metavar="FINDING", help="The id that the last run has printed.")],
    *,
    note: Note,
    actor: Annotated[str | None, typer.Option(help="Your name. Default: your user and host name.")] = None,
    local: Local = False,
) -> None:
    """Stop the report of a finding that nothing makes whole. It stays in the state file, with the note."""
    from deploy.audit.auditor import accept as accept_finding
    from deploy.audit.settings import load_settings
    from shared.operations.tool import actor_of

    settings = load_settings(local=local)
    configure_logging("audit", level="warning", format="json", stream=sys.stderr)
    try:
        is_new = accept_finding(settings, finding, actor=actor_of(actor), note=note)
    except StateUnusable as error:
        raise _unusable(error) from error
    print("accepted" if is_new else "it was accepted before")


def _unusable(error: StateUnusable) -> typer.Exit:
    typer.echo(str(error), err=True)
    return typer.Exit(2)


if __name__ == "__main__":
    cli(prog_name="python -m deploy.audit")
