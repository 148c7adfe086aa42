"""The operators' commands for deliveries: list, show, resend."""
# ruff: noqa: PLC0415 - a command imports what it needs when it runs

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from services.notifications.statuses import Channel, DeliveryStatus
from shared.operations.tool import Actor, AsJson, DryRun, Tool, actor_of, time_of

if TYPE_CHECKING:
    from services.notifications.delivery_operations import DeliveryFilter
    from shared.database import Sessions

OnlyChannel = Annotated[Channel | None, typer.Option("--channel", help="Only this channel.")]
OfUser = Annotated[UUID | None, typer.Option("--user", help="Only notifications of this user.")]
Error = Annotated[str | None, typer.Option(help="Only this code of the last error, such as unreachable.")]
Before = Annotated[
    str | None, typer.Option(help="Only notifications created before this time, such as 2026-11-23T10:00:00Z.")
]


def deliveries_cli(tool: Tool) -> typer.Typer:
    """Return the commands."""
    cli = typer.Typer(help="Deliveries of notifications, most of all those that have failed.", no_args_is_help=True)
    _add_list(cli, tool)
    _add_show(cli, tool)
    _add_resend(cli, tool)
    return cli


def _add_list(cli: typer.Typer, tool: Tool) -> None:
    @cli.command(name="list")
    def list_(
        *,
        status: Annotated[DeliveryStatus, typer.Option(help="The status of the deliveries.")] = "failed",
        channel: OnlyChannel = None,
        user: OfUser = None,
        error: Error = None,
        before: Before = None,
        after: Annotated[UUID | None, typer.Option(help="Continue after this delivery, the last one listed.")] = None,
        limit: Annotated[int, typer.Option(min=1, help="Show at most this many.")] = 50,
        as_json: AsJson = False,
    ) -> None:
        """List deliveries, oldest first: by default those that have failed."""

        async def work(sessions: "Sessions") -> bool:
            from services.notifications.delivery_operations import list_deliveries
            from shared.operations.output import print_json, print_line, print_table

            wanted = _filter(status, channel=channel, user=user, error=error, before=before)
            async with sessions() as session:
                found = await list_deliveries(session, wanted, after=after, limit=limit)
            if as_json:
                print_json(found)
            elif found:
                columns = ("id", "channel", "event_type", "status", "attempts", "last_error", "next_attempt_at")
                print_table(columns, [[getattr(each, column) for column in columns] for each in found])
            else:
                print_line("There are no such deliveries.")
            return True

        tool.run(work)


def _add_show(cli: typer.Typer, tool: Tool) -> None:
    @cli.command()
    def show(delivery_id: Annotated[UUID, typer.Argument(metavar="ID")], as_json: AsJson = False) -> None:
        """Show one delivery with its notification's data, and the actions taken on it."""

        async def work(sessions: "Sessions") -> bool:
            from services.notifications.delivery_operations import show_delivery
            from services.notifications.schemas import DeliveryDetailView
            from shared.operations.output import print_json, print_table

            async with sessions() as session:
                view = DeliveryDetailView.model_validate(await show_delivery(session, delivery_id))
            if as_json:
                print_json(view)
                return True
            facts = view.model_dump(exclude={"actions"})
            print_table(("", "value"), list(facts.items()))
            if view.actions:
                columns = ("acted_at", "actor", "action", "status_before", "error_before", "note")
                print_table(columns, [[getattr(action, column) for column in columns] for action in view.actions])
            return True

        tool.run(work)


def _add_resend(cli: typer.Typer, tool: Tool) -> None:
    @cli.command()
    def resend(
        *,
        note: Annotated[str, typer.Option(help="The reason, for the record.")],
        ids: Annotated[list[UUID] | None, typer.Option("--id", help="One delivery; may be repeated.")] = None,
        status: Annotated[
            DeliveryStatus | None, typer.Option(help="failed or retrying; required without --id.")
        ] = None,
        channel: OnlyChannel = None,
        user: OfUser = None,
        error: Error = None,
        before: Before = None,
        limit: Annotated[int | None, typer.Option(min=1, help="At most this many, oldest first.")] = None,
        force: Annotated[
            bool, typer.Option("--force", help="Also resend those of --id that were sent; they arrive twice.")
        ] = False,
        yes: Annotated[bool, typer.Option("--yes", help="Confirm what a filter selects; required with it.")] = False,
        dry_run: DryRun = False,
        actor: Actor = None,
        as_json: AsJson = False,
    ) -> None:
        """Make deliveries due now that have failed or wait for a retry, with the whole time for their retries."""

        async def work(sessions: "Sessions") -> bool:
            from services.notifications.delivery_operations import NoDeliverySelected, ResendSelection
            from services.notifications.delivery_operations import resend as resend_deliveries
            from services.notifications.schemas import ResentDeliveriesView
            from shared.operations.output import print_json, print_line

            if not (ids or yes or dry_run):
                raise NoDeliverySelected("A filter also needs --yes; use --dry-run to see how many it selects.")
            wanted = _filter(status, channel=channel, user=user, error=error, before=before) if status else None
            selection = ResendSelection(ids=ids or (), wanted=wanted, limit=limit, force=force)
            count = await resend_deliveries(sessions, selection, actor=actor_of(actor), note=note, dry_run=dry_run)
            if as_json:
                print_json(ResentDeliveriesView(dry_run=dry_run, deliveries=count))
            else:
                print_line(f"{count} would be resent" if dry_run else f"{count} resent")
            return True

        tool.run(work)


def _filter(
    status: DeliveryStatus, *, channel: Channel | None, user: UUID | None, error: str | None, before: str | None
) -> "DeliveryFilter":
    from services.notifications.delivery_operations import DeliveryFilter

    return DeliveryFilter(
        status=status,
        channel=channel,
        user_id=user,
        error=error,
        created_before=time_of(before) if before else None,
    )
