"""The command line of the load: `python -m deploy.load [run]` and `soak`."""
# ruff: noqa: PLC0415 - a command imports what it needs when it runs

import asyncio
import random
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from deploy.demo.client import RequestFailed
from deploy.load import parameters
from deploy.load.plan import Plan
from deploy.load.pool import pool_file
from deploy.load.target import LoadTarget
from deploy.load.thresholds import DEFAULT_FILE, SOAK_FILE, read_thresholds
from deploy.local.credentials import ADMIN_EMAIL
from deploy.local.process import LocalError
from deploy.local.screen import Screen
from deploy.local.state import CHECKOUT, DEFAULT_FOLDER

if TYPE_CHECKING:
    from deploy.load.command import Options

REPORTS = CHECKOUT / "docs" / "load"
COMMANDS = ("run", "soak")
MISSED, NOT_SENT = 1, 2
"""The exit statuses for a missed threshold, and for a load that could not be sent or reported."""
DEFAULT_RATE = 5.0
DEFAULT_SECONDS = 60.0
DEFAULT_THINK_SECONDS = 1.0
DEFAULT_WARM_UP_SECONDS = 10.0
MAX_WARM_UP_SHARE = 0.2
"""Largest share of a load that the default warm-up takes, so that something is left of a short one."""

cli = typer.Typer(help="Send what customers send, judge it, and write a report.", pretty_exceptions_enable=False)


@cli.command()
def run(
    *,
    url: parameters.Url = None,
    rate: parameters.Rate = None,
    users: parameters.Users = None,
    seconds: parameters.Seconds = None,
    minutes: parameters.Minutes = None,
    think: parameters.Think = DEFAULT_THINK_SECONDS,
    warm_up: parameters.WarmUp = None,
    accounts: parameters.Accounts = 100,
    accounts_file: parameters.AccountsFile = None,
    admin_email: parameters.AdminEmail = ADMIN_EMAIL,
    admin_password_file: parameters.AdminPasswordFile = None,
    ca_file: parameters.CaFile = None,
    metrics: parameters.Metrics = None,
    thresholds: parameters.ThresholdsFile = DEFAULT_FILE,
    report: parameters.Report = None,
    json_lines: parameters.JsonLines = False,
    seed: parameters.Seed = None,
) -> None:
    """Send a load, and judge it: the exit status is 1 if a threshold is missed. SIGTERM ends it early, in order."""
    from deploy.load.command import Options, run_load

    if rate is not None and users is not None:
        raise typer.BadParameter("--rate is an open loop and --users a closed one: choose one of them")
    plan = Plan(
        rate=DEFAULT_RATE if rate is None and users is None else rate,
        users=users,
        seconds=_duration(seconds=seconds, minutes=minutes),
        think_seconds=think,
        ca_file=str(ca_file) if ca_file else None,
        seed=_seed(seed),
    )
    target = None
    if url:
        password = _first_line(admin_password_file) if admin_password_file else None
        target = _target(url, email=admin_email, password=password, metrics=metrics, accounts=accounts_file, plan=plan)
    options = Options(
        plan=plan,
        target=target,
        accounts=accounts,
        accounts_file=accounts_file,
        warm_up_seconds=_default_warm_up(plan.seconds) if warm_up is None else warm_up,
        thresholds_file=thresholds,
        report=report or (None if json_lines else REPORTS / "latest"),
        json_lines=json_lines,
    )
    _carry_out(options, lambda screen: run_load(options, screen=screen))


@cli.command()
def soak(
    *,
    minutes: parameters.SoakMinutes = 30,
    rate: parameters.SoakRate = 4,
    interval: parameters.Interval = 10,
    accounts: parameters.Accounts = 100,
    accounts_file: parameters.AccountsFile = None,
    thresholds: parameters.ThresholdsFile = SOAK_FILE,
    report: parameters.SoakReport = REPORTS / "latest-soak",
    seed: parameters.Seed = None,
) -> None:
    """Load the system of `make run` for long. The exit status is 1 if memory, files, tables or others keep growing."""
    from deploy.load.command import Options
    from deploy.load.soak import run_soak

    plan = Plan(rate=rate, seconds=60 * minutes, think_seconds=DEFAULT_THINK_SECONDS, seed=_seed(seed))
    options = Options(
        plan=plan,
        target=None,
        accounts=accounts,
        accounts_file=accounts_file,
        warm_up_seconds=_default_warm_up(plan.seconds),
        thresholds_file=thresholds,
        report=report,
    )
    _carry_out(options, lambda screen: run_soak(options, interval_seconds=interval, screen=screen))


def _target(
    url: str, *, email: str, password: str | None, metrics: list[str] | None, accounts: Path | None, plan: Plan
) -> LoadTarget:
    url = url.rstrip("/")
    return LoadTarget(
        url=url,
        admin_email=email,
        admin_password=password,
        metrics_urls=_named_urls(metrics or []),
        accounts_file=accounts or pool_file(DEFAULT_FOLDER / "load", url),
        ca_file=plan.ca_file,
    )


def _duration(*, seconds: float | None, minutes: float | None) -> float:
    if seconds is not None and minutes is not None:
        raise typer.BadParameter("choose one of --seconds and --minutes")
    return 60 * minutes if minutes is not None else seconds or DEFAULT_SECONDS


def _default_warm_up(seconds: float) -> float:
    return min(DEFAULT_WARM_UP_SECONDS, MAX_WARM_UP_SHARE * seconds)


def _carry_out(options: "Options", command: Callable[[Screen], Coroutine[Any, Any, bool]]) -> None:
    # What is for people goes to stderr where standard output is for programs.
    screen = Screen(Console(file=sys.stderr, highlight=False) if options.json_lines else None)
    status = NOT_SENT
    try:
        read_thresholds(options.thresholds_file)
        status = 0 if asyncio.run(command(screen)) else MISSED
    except* (LocalError, RequestFailed) as errors:
        for error in errors.exceptions:
            screen.error(str(error))
    if status:
        raise typer.Exit(status)


def _seed(given: int | None) -> int:
    """Return the given seed, or a new one; it is printed, so that a run can be repeated."""
    return random.randrange(2**32) if given is None else given  # noqa: S311 - no secret


def _first_line(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").splitlines()[0]
    except (OSError, IndexError) as error:
        raise typer.BadParameter(f"{file} has no password: {error}") from error


def _named_urls(pairs: list[str]) -> dict[str, str]:
    urls = {}
    for pair in pairs:
        name, separator, url = pair.partition("=")
        if not (separator and name and url.startswith(("http://", "https://"))):
            raise typer.BadParameter(f"--metrics {pair}: expected NAME=URL, such as users=http://127.0.0.1:8001")
        urls[name] = url.rstrip("/")
    return urls


def main(arguments: list[str]) -> None:
    """Run a command; `run` if none is named."""
    is_named = arguments[:1] and arguments[0] in (*COMMANDS, "--help")
    cli(arguments if is_named else ["run", *arguments], prog_name="python -m deploy.load")


if __name__ == "__main__":
    main(sys.argv[1:])
