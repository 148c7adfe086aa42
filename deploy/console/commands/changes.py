"""The commands that change something. The services record who did it."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from deploy.console.commands.asking import AsJson, Consumer, EventType, Key, Reason, ServiceArgument, print_answer

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be done; change nothing.")]
OneId = Annotated[int | None, typer.Option("--id", min=1, help="Only this dead letter.")]
Note = Annotated[str, typer.Option(help="The reason, for the record.")]


def add_changes(cli: typer.Typer) -> None:
    """Add the commands."""
    _add_dead_letters(cli)
    _add_sending(cli)
    _add_stuck(cli)
    _add_process(cli)


def _add_dead_letters(cli: typer.Typer) -> None:
    @cli.command()
    def replay(
        service: ServiceArgument,
        *,
        consumer: Consumer = None,
        key: Key = None,
        type_: EventType = None,
        reason: Reason = None,
        dead_letter_id: OneId = None,
        dry_run: DryRun = False,
        as_json: AsJson = False,
    ) -> None:
        """Apply dead letters of a service again."""
        selection = {"consumer": consumer, "key": key, "type": type_, "reason": reason, "id": dead_letter_id}
        _act(f"dead-letters/{service}", {"action": "replay", "dry_run": dry_run, **selection}, as_json=as_json)

    @cli.command()
    def discard(
        service: ServiceArgument,
        *,
        note: Note,
        consumer: Consumer = None,
        key: Key = None,
        type_: EventType = None,
        reason: Reason = None,
        dead_letter_id: OneId = None,
        dry_run: DryRun = False,
        as_json: AsJson = False,
    ) -> None:
        """Discard dead letters of a service for good."""
        selection = {"consumer": consumer, "key": key, "type": type_, "reason": reason, "id": dead_letter_id}
        body = {"action": "discard", "note": note, "dry_run": dry_run, **selection}
        _act(f"dead-letters/{service}", body, as_json=as_json)


def _add_sending(cli: typer.Typer) -> None:
    @cli.command()
    def resend(
        service: ServiceArgument,
        *,
        since: Annotated[str, typer.Option(help="Events sent at or after this time, such as 2026-11-23T10:00:00Z.")],
        topic: Annotated[str | None, typer.Option(help="Only this topic.")] = None,
        key: Key = None,
        dry_run: DryRun = False,
        as_json: AsJson = False,
    ) -> None:
        """Publish sent events again with the same ids, after a broker has lost data. `operation` shows the progress."""
        body = {"since": since, "topic": topic, "key": key, "dry_run": dry_run}
        print_answer(lambda console: console.post(f"/dead-letters/{service}/resends", body), as_json=as_json)

    @cli.command()
    def republish(
        service: ServiceArgument,
        *,
        types: Annotated[list[str] | None, typer.Option("--type", help="Only aggregates of this type.")] = None,
        as_json: AsJson = False,
    ) -> None:
        """Publish the current state of a service, for consumers that lost theirs. `operation` shows the progress."""
        body = {"types": types or []}
        print_answer(lambda console: console.post(f"/dead-letters/{service}/republications", body), as_json=as_json)


def _add_stuck(cli: typer.Typer) -> None:
    ids = Annotated[list[int], typer.Argument(metavar="ID...", help="Held jobs, as `stuck` shows them.")]

    @cli.command()
    def retry_jobs(service: ServiceArgument, job_ids: ids, *, note: Note, as_json: AsJson = False) -> None:
        """Let held jobs of a service run again, with all their attempts."""
        _act(f"stuck/jobs/{service}", {"action": "retry", "ids": job_ids, "note": note}, as_json=as_json)

    @cli.command()
    def discard_jobs(service: ServiceArgument, job_ids: ids, *, note: Note, as_json: AsJson = False) -> None:
        """Delete held jobs of a service. Their work is not done."""
        _act(f"stuck/jobs/{service}", {"action": "discard", "ids": job_ids, "note": note}, as_json=as_json)

    @cli.command()
    def resend_delivery(
        delivery_id: Annotated[str, typer.Argument(metavar="ID", help="A delivery, as `stuck` shows it.")],
        *,
        note: Note,
        as_json: AsJson = False,
    ) -> None:
        """Send a notification again whose delivery has failed or waits."""
        body = {"delivery_id": delivery_id, "note": note}
        print_answer(lambda console: console.post("/stuck/deliveries/resends", body), as_json=as_json)


def _add_process(cli: typer.Typer) -> None:
    @cli.command()
    def process(
        name: Annotated[str, typer.Argument(help="The name of a process of `make run`.")],
        action: Annotated[str, typer.Argument(help="start, stop, restart, kill, suspend or resume")],
        *,
        as_json: AsJson = False,
    ) -> None:
        """Act on a process of the local system."""
        _act(f"system/processes/{name}", {"action": action}, as_json=as_json)


def _act(place: str, body: Mapping[str, Any], *, as_json: bool) -> None:
    print_answer(lambda console: console.post(f"/{place}/actions", body), as_json=as_json)
