"""The commands that read."""

from pathlib import Path
from typing import Annotated, Any

import typer

from deploy.console.client import ConsoleClient
from deploy.console.commands.asking import AsJson, Consumer, EventType, Key, Reason, ServiceArgument, print_answer


def add_reads(cli: typer.Typer) -> None:
    """Add the commands."""
    _add_state(cli)
    _add_events(cli)
    _add_dead_letters(cli)
    _add_telemetry(cli)
    _add_export(cli)


def _add_state(cli: typer.Typer) -> None:
    @cli.command()
    def health(as_json: AsJson = False) -> None:
        """Show each service's health, and the processes of the local system."""
        print_answer(lambda console: console.get("/system"), as_json=as_json)

    @cli.command()
    def journey(
        order: Annotated[
            str, typer.Argument(help="An order's number or id, an event's id, or a customer's e-mail address.")
        ],
        as_json: AsJson = False,
    ) -> None:
        """Show where an order is: one timeline over all services."""
        print_answer(lambda console: console.get("/orders", query=order), as_json=as_json)

    @cli.command()
    def stuck(as_json: AsJson = False) -> None:
        """Show stuck orders, deliveries and jobs, with reasons and what helps."""
        print_answer(lambda console: console.get("/stuck"), as_json=as_json)

    @cli.command()
    def invariants(as_json: AsJson = False) -> None:
        """Show what the audit has checked, and what contradicts it."""
        print_answer(lambda console: console.get("/invariants"), as_json=as_json)

    @cli.command()
    def metrics(
        prefix: Annotated[str, typer.Argument(help="The beginning of the names, such as outbox_.")] = "",
        *,
        target: Annotated[str | None, typer.Option(help="Only this service.")] = None,
        as_json: AsJson = False,
    ) -> None:
        """List metrics of the last scrape."""
        print_answer(lambda console: console.get("/metrics", prefix=prefix, target=target), as_json=as_json)


def _add_events(cli: typer.Typer) -> None:
    @cli.command()
    def flow(as_json: AsJson = False) -> None:
        """Show rates, waiting events, lag and delays of each topic and consumer."""
        print_answer(lambda console: console.get("/flow"), as_json=as_json)

    @cli.command()
    def events(
        topic: Annotated[str, typer.Argument(help="users, orders, products or notifications")],
        key: Key = None,
        *,
        as_json: AsJson = False,
    ) -> None:
        """List the last events of a topic, newest first."""
        print_answer(lambda console: console.get(f"/flow/topics/{topic}/events", key=key), as_json=as_json)


def _add_dead_letters(cli: typer.Typer) -> None:
    @cli.command()
    def dead_letters(
        *,
        consumer: Consumer = None,
        key: Key = None,
        type_: EventType = None,
        reason: Reason = None,
        as_json: AsJson = False,
    ) -> None:
        """List the dead letters of all services, and the keys that they block."""
        given = {"consumer": consumer, "key": key, "type": type_, "reason": reason}
        print_answer(lambda console: console.get("/dead-letters", **given), as_json=as_json)

    @cli.command()
    def dead_letter(
        service: ServiceArgument,
        dead_letter_id: Annotated[int, typer.Argument(metavar="ID", min=1)],
        as_json: AsJson = False,
    ) -> None:
        """Show a dead letter with its event, its error, and what was done about it."""
        print_answer(lambda console: console.get(f"/dead-letters/{service}/{dead_letter_id}"), as_json=as_json)

    @cli.command()
    def actions(as_json: AsJson = False) -> None:
        """List who did what, newest first."""
        print_answer(lambda console: console.get("/dead-letters/actions"), as_json=as_json)

    @cli.command()
    def operation(
        service: ServiceArgument,
        kind: Annotated[str, typer.Argument(help="resends or republications")],
        operation_id: Annotated[str, typer.Argument(metavar="ID")],
        as_json: AsJson = False,
    ) -> None:
        """Show the progress of a resend or a republication."""
        path = f"/dead-letters/{service}/operations/{kind}/{operation_id}"
        print_answer(lambda console: console.get(path), as_json=as_json)


def _add_telemetry(cli: typer.Typer) -> None:
    @cli.command()
    def traces(
        *,
        service: Annotated[str | None, typer.Option(help="Only traces with a span of this service.")] = None,
        name: Annotated[str | None, typer.Option(help="Text in the name of a span, such as a route.")] = None,
        min_duration_ms: Annotated[float | None, typer.Option(min=0, help="The minimum duration.")] = None,
        failed: Annotated[bool, typer.Option("--failed", help="Only traces with a span that failed.")] = False,
        as_json: AsJson = False,
    ) -> None:
        """List the latest traces, newest first."""
        given = {"service": service, "name": name, "min_duration_ms": min_duration_ms, "has_failed": failed}
        print_answer(lambda console: console.get("/traces", **given), as_json=as_json)

    @cli.command()
    def trace(trace_id: Annotated[str, typer.Argument(metavar="ID")], as_json: AsJson = False) -> None:
        """Show the spans of a trace as a tree, with its log lines."""
        print_answer(lambda console: console.get(f"/traces/{trace_id}"), as_json=as_json)

    @cli.command()
    def logs(
        *,
        process: Annotated[str | None, typer.Option(help="Only this service or log file.")] = None,
        level: Annotated[str | None, typer.Option(help="The lowest level, such as warning.")] = None,
        event: Annotated[str | None, typer.Option(help="The name of the event, such as order_placed.")] = None,
        trace_id: Annotated[str | None, typer.Option(help="Only lines of this trace.")] = None,
        search: Annotated[str | None, typer.Option(help="Words, and keywords with their value.")] = None,
        as_json: AsJson = False,
    ) -> None:
        """Show the latest log lines."""
        given = {"process": process, "level": level, "event": event, "trace_id": trace_id, "search": search}
        print_answer(lambda console: console.get("/logs", **given), as_json=as_json)


def _add_export(cli: typer.Typer) -> None:
    @cli.command()
    def export(
        file: Annotated[Path, typer.Argument(help="The file to write, which must not exist.", dir_okay=False)],
        as_json: AsJson = False,
    ) -> None:
        """Download everything of the last hour, personal data masked. Another console opens the file."""

        async def download(console: ConsoleClient) -> dict[str, Any]:
            return {"file": str(file), "bytes": await console.download("/exports/file", file)}

        print_answer(download, as_json=as_json)
