"""The command line of the load: `python -m deploy.load [run]` and `soak`."""
# ruff: noqa: PLC0415 - a command imports what it needs when it runs

import asyncio
import random
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from deploy.demo.client import RequestFailed
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
DEFAULT_THINK_SECONDS = 1.0
DEFAULT_WARM_UP_SECONDS = 10.0

cli = typer.Typer(help="Send what customers send, judge it, and write a report.", pretty_exceptions_enable=False)

Rate = Annotated[
    float | None,
    typer.Option(min=0.01, max=10_000, help="Open loop: customers that begin per second, whatever the answers take."),
]
Users = Annotated[
    int | None, typer.Option(min=1, max=10_000, help="Closed loop: customers at once, each after the last answer.")
]
Accounts = Annotated[int, typer.Option(min=1, max=10_000, help="Accounts of the pool, which is made once per target.")]
AccountsFile = Annotated[
    Path | None, typer.Option(help="The pool: a JSON list of accounts with email and password. Made if missing.")
]
Thresholds = Annotated[Path, typer.Option(help="The file of thresholds.")]


Url = Annotated[
    str | None, typer.Option(help="The gateway of the target. Default: the system of `make run`, started if need be.")
]
Seconds = Annotated[float | None, typer.Option(min=1, help="Duration.")]
Minutes = Annotated[float | None, typer.Option(min=0.1, help="Duration, instead of seconds.")]
Think = Annotated[float, typer.Option(min=0, max=600, help="Mean seconds between two steps of a customer.")]
WarmUp = Annotated[float | None, typer.Option(min=0, help="Seconds at the beginning that no percentile includes.")]
AdminEmail = Annotated[str, typer.Option(help="An admin, who makes accounts and refills stock.")]
AdminPasswordFile = Annotated[
    Path | None, typer.Option(help="The admin's password. Without it, the accounts have to exist.")
]
CaFile = Annotated[Path | None, typer.Option(help="Certificates of the CAs that may sign the target's.")]
Metrics = Annotated[
    list[str] | None, typer.Option(help="A process whose /metrics can be read: users=http://127.0.0.1:8001.")
]
Report = Annotated[
    Path | None, typer.Option(help="The folder of the report. Default: docs/load/latest; none with --json-lines.")
]
JsonLines = Annotated[
    bool, typer.Option("--json-lines", help="Print a JSON document per second, and the summary as the last one.")
]
Seed = Annotated[int | None, typer.Option(help="The seed of the baskets' order and the customers' pace.")]


@cli.command()
def run(
    *,
    url: Url = None,
    rate: Rate = None,
    users: Users = None,
    seconds: Seconds = None,
    minutes: Minutes = None,
    think: Think = DEFAULT_THINK_SECONDS,
    warm_up: WarmUp = None,
    accounts: Accounts = 100,
    accounts_file: AccountsFile = None,
    admin_email: AdminEmail = ADMIN_EMAIL,
    admin_password_file: AdminPasswordFile = None,
    ca_file: CaFile = None,
    metrics: Metrics = None,
    thresholds: Thresholds = DEFAULT_FILE,
    report: Report = None,
    json_lines: JsonLines = False,
    seed: Seed = None,
) -> None:
    """Send a load, and judge it: the exit status is 1 if a threshold is missed. SIGTERM ends it early, in order."""
    if rate is not None and users is not None:
        raise typer.BadParameter("--rate is an open loop and --users a closed one: choose one of them")
    if seconds is not None and minutes is not None:
        raise typer.BadParameter("choose one of --seconds and --minutes")
    from deploy.load.command import Options, run_load

    plan = Plan(
        url=(url or "").rstrip("/"),
        rate=rate if users is not None or rate is not None else DEFAULT_RATE,
        users=users,
        seconds=60 * minutes if minutes is not None else seconds or 60.0,
        think_seconds=think,
        ca_file=str(ca_file) if ca_file else None,
        seed=_seed(seed),
    )
    password = _first_line(admin_password_file) if admin_password_file else None
    target = _target_of(plan, email=admin_email, password=password, metrics=metrics, accounts_file=accounts_file)
    options = Options(
        plan=plan,
        target=target,
        accounts=accounts,
        accounts_file=accounts_file,
        # A short load has a short warm-up, so that something is left.
        warm_up_seconds=min(DEFAULT_WARM_UP_SECONDS, plan.seconds / 5) if warm_up is None else warm_up,
        thresholds_file=thresholds,
        report=report or (None if json_lines else REPORTS / "latest"),
        json_lines=json_lines,
    )
    _carry_out(options, lambda screen: run_load(options, screen=screen))


def _target_of(
    plan: Plan, *, email: str, password: str | None, metrics: list[str] | None, accounts_file: Path | None
) -> LoadTarget | None:
    """Return the target that the URL names; None for the system of `make run`."""
    if not plan.url:
        return None
    return LoadTarget(
        url=plan.url,
        admin_email=email,
        admin_password=password,
        metrics_urls=_named_urls(metrics or []),
        accounts_file=accounts_file or pool_file(DEFAULT_FOLDER / "load", plan.url),
        ca_file=plan.ca_file,
    )


@cli.command()
def soak(
    *,
    minutes: Annotated[float, typer.Option(min=0.1, help="Duration.")] = 30,
    rate: Annotated[float, typer.Option(min=0.01, max=10_000, help="Customers that begin per second.")] = 4,
    interval: Annotated[float, typer.Option(min=0.5, help="Seconds from one sample to the next.")] = 10,
    accounts: Accounts = 100,
    accounts_file: AccountsFile = None,
    thresholds: Thresholds = SOAK_FILE,
    report: Annotated[Path, typer.Option(help="The folder of the report.")] = REPORTS / "latest-soak",
    seed: Seed = None,
) -> None:
    """Load the system of `make run` for long. The exit status is 1 if memory, files, tables or others keep growing."""
    from deploy.load.command import Options
    from deploy.load.soak import run_soak

    plan = Plan(
        url="",
        rate=rate,
        seconds=60 * minutes,
        think_seconds=DEFAULT_THINK_SECONDS,
        seed=_seed(seed),
    )
    options = Options(
        plan=plan,
        target=None,
        accounts=accounts,
        accounts_file=accounts_file,
        warm_up_seconds=min(DEFAULT_WARM_UP_SECONDS, plan.seconds / 5),
        thresholds_file=thresholds,
        report=report,
    )
    _carry_out(options, lambda screen: run_soak(options, interval_seconds=interval, screen=screen))


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
