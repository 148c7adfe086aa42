"""The operators' commands that look up events, and the record of who did what."""
# ruff: noqa: PLC0415 - a command imports what it needs when it runs

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from shared.operations.tool import AsJson, Tool

if TYPE_CHECKING:
    from shared.database import Sessions

Limit = Annotated[int, typer.Option(min=1, max=1000, help="Show at most this many, the newest.")]
Cursor = Annotated[str | None, typer.Option(help="The `next_cursor` that --json printed, to go on.")]

_SHOWN = ("event_id", "state", "type", "topic", "key", "sequence", "recorded_at", "sent_at", "partition", "offset")


def events_cli(tool: Tool) -> typer.Typer:
    """Return the commands for events."""
    cli = typer.Typer(help="Events that this service has recorded or received.", no_args_is_help=True)

    @cli.command()
    def show(event_id: Annotated[UUID, typer.Argument(metavar="ID")], as_json: AsJson = False) -> None:
        """Show an event: whether it was sent, applied, or is a dead letter, and its data."""

        async def work(sessions: "Sessions") -> bool:
            from shared.operations.events import find_event
            from shared.operations.output import print_json, print_table

            async with sessions() as session:
                event = await find_event(session, event_id, consumers=tool.subscriptions())
            if as_json:
                print_json(event)
            else:
                print_table(("", "value"), [(name, value) for name, value in event])
            return True

        tool.run(work)

    @cli.command("list")
    def list_(
        *,
        topic: Annotated[str | None, typer.Option(help="Only this topic.")] = None,
        key: Annotated[str | None, typer.Option(help="Only this key.")] = None,
        type_: Annotated[str | None, typer.Option("--type", help="Only this type, such as order.created.")] = None,
        limit: Limit = 20,
        cursor: Cursor = None,
        as_json: AsJson = False,
    ) -> None:
        """List the events that this service has recorded, the newest first: waiting ones, then sent ones."""

        async def work(sessions: "Sessions") -> bool:
            from shared.operations.event_lists import EventFilter, list_events
            from shared.operations.output import print_json, print_table

            wanted = EventFilter(topic=topic, key=key, type=type_)
            async with sessions() as session:
                events, next_cursor = await list_events(session, wanted, cursor=cursor, limit=limit)
            if as_json:
                print_json({"items": events, "next_cursor": next_cursor})
            else:
                print_table(_SHOWN, [[getattr(event, name) for name in _SHOWN] for event in events])
            return True

        tool.run(work)

    return cli


def actions_cli(tool: Tool) -> typer.Typer:
    """Return the commands for the record of actions."""
    cli = typer.Typer(help="The record of what operators did with this service's data.", no_args_is_help=True)

    @cli.command("list")
    def list_(*, limit: Limit = 20, cursor: Cursor = None, as_json: AsJson = False) -> None:
        """List who did what, when and why, the newest first."""

        async def work(sessions: "Sessions") -> bool:
            from shared.operations.actions import ActionView, list_actions
            from shared.operations.output import print_json, print_table

            async with sessions() as session:
                page = await list_actions(session, tool.action_sources(), cursor=cursor, limit=limit)
            if as_json:
                print_json({"items": page.actions, "next_cursor": page.next_cursor})
            else:
                names = tuple(ActionView.model_fields)
                print_table(names, [[getattr(action, name) for name in names] for action in page.actions])
            return True

        tool.run(work)

    return cli
