"""The command that tells where an order is. It asks the running service, which asks the others."""
# ruff: noqa: PLC0415 - a command imports what it needs when it runs

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from shared.command import run_command
from shared.operations.tool import AsJson

DEFAULT_URL = "http://127.0.0.1:8002"


def add_journey(cli: typer.Typer) -> None:
    """Add the command to the service's command line."""

    @cli.command()
    def journey(
        order: Annotated[
            str, typer.Argument(metavar="ORDER", help="The order's id or number, or the id of an event about it.")
        ],
        *,
        url: Annotated[
            str, typer.Option(envvar="ORDERLY_ORDERS_URL", help="The orders service, or the gateway.")
        ] = DEFAULT_URL,
        token_file: Annotated[
            Path | None, typer.Option(exists=True, dir_okay=False, help="A file with an access token.")
        ] = None,
        token: Annotated[
            str | None,
            typer.Option(
                envvar="ORDERLY_TOKEN",
                help="An access token of support or an admin. Set the variable, or use a file: arguments can be seen.",
            ),
        ] = None,
        as_json: AsJson = False,
    ) -> None:
        """Tell where an order is, over all services: the verdict with what helps, and the timeline.

        It asks the running service, because only that may ask the others. Exit status 1 if the service does not answer,
        2 if it refuses.
        """
        given = token_file.read_text(encoding="utf-8").strip() if token_file is not None else token
        if not given:
            raise typer.BadParameter("give --token-file, or set ORDERLY_TOKEN", param_hint="--token-file")
        found = run_command(_read(url, order, token=given))
        from shared.operations.output import print_json, print_line, print_table

        if as_json:
            print_json(found)
            return
        verdict, advice = found["verdict"], found["verdict"]["advice"]
        print_line(f"{found['number']} ({found['order_id']}) is {found['status']}: {verdict['state']}")
        print_line(verdict["reason"])
        if advice is not None:
            print_line(f"{advice['text']} {advice['command'] or advice['route']} ({advice['runbook']})")
        for part in found["services"]:
            if part["state"] != "complete":
                print_line(f"{part['service']} is {part['state']}: {part['reason'] or 'more entries than shown'}")
        names = ("time", "service", "kind", "title")
        print_table(names, [[entry[name] for name in names] for entry in found["entries"]])


async def _read(url: str, order: str, *, token: str) -> Any:
    """Return the JSON of a journey. Exits with a message if the service refuses, or does not answer."""
    import httpx2

    path = f"{url.rstrip('/')}/v1/orders/{quote(order, safe='')}/journey"
    try:
        async with httpx2.AsyncClient(timeout=20) as client:
            response = await client.get(path, headers={"Authorization": f"Bearer {token}"})
    except httpx2.TransportError as error:
        typer.echo(f"{url} does not answer", err=True)
        raise typer.Exit(1) from error
    if response.is_success:
        return response.json()
    try:
        problem = response.json()
        reason = problem.get("detail") or problem["title"]
    except (ValueError, KeyError, AttributeError):
        reason = f"status {response.status_code}"
    typer.echo(reason, err=True)
    raise typer.Exit(2 if response.status_code < 500 else 1)
