"""The parameters of the commands, each with its bounds and its help."""

from pathlib import Path
from typing import Annotated

import typer

Url = Annotated[
    str | None, typer.Option(help="The gateway of the target. Default: the system of `make run`, started if need be.")
]
Rate = Annotated[
    float | None,
    typer.Option(min=0.01, max=10_000, help="Open loop: customers that begin per second, whatever the answers take."),
]
SoakRate = Annotated[float, typer.Option(min=0.01, max=10_000, help="Customers that begin per second.")]
Users = Annotated[
    int | None, typer.Option(min=1, max=10_000, help="Closed loop: customers at once, each after the last answer.")
]
Seconds = Annotated[float | None, typer.Option(min=1, help="Duration.")]
Minutes = Annotated[float | None, typer.Option(min=0.1, help="Duration, instead of seconds.")]
SoakMinutes = Annotated[float, typer.Option(min=0.1, help="Duration.")]
Think = Annotated[float, typer.Option(min=0, max=600, help="Mean seconds between two steps of a customer.")]
WarmUp = Annotated[float | None, typer.Option(min=0, help="Seconds at the beginning that no percentile includes.")]
Interval = Annotated[float, typer.Option(min=0.5, help="Seconds from one sample to the next.")]
Accounts = Annotated[int, typer.Option(min=1, max=10_000, help="Accounts of the pool, which is made once per target.")]
AccountsFile = Annotated[
    Path | None, typer.Option(help="The pool: a JSON list of accounts with email and password. Made if missing.")
]
AdminEmail = Annotated[str, typer.Option(help="An admin, who makes accounts and refills stock.")]
AdminPasswordFile = Annotated[
    Path | None, typer.Option(help="The admin's password. Without it, the accounts have to exist.")
]
CaFile = Annotated[
    Path | None,
    typer.Option(exists=True, dir_okay=False, help="Certificates of the CAs that may sign the target's."),
]
Metrics = Annotated[
    list[str] | None, typer.Option(help="A process whose /metrics can be read: users=http://127.0.0.1:8001.")
]
ThresholdsFile = Annotated[Path, typer.Option(help="The file of thresholds.")]
Report = Annotated[
    Path | None, typer.Option(help="The folder of the report. Default: docs/load/latest; none with --json-lines.")
]
SoakReport = Annotated[Path, typer.Option(help="The folder of the report.")]
JsonLines = Annotated[
    bool, typer.Option("--json-lines", help="Print a JSON document per second, and the summary as the last one.")
]
Seed = Annotated[int | None, typer.Option(help="The seed of the baskets' order and the customers' pace.")]
