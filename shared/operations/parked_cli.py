"""The tool's commands for parked events: list, show, replay, discard."""
# ruff: noqa: PLC0415 - a command imports what it needs when it runs

from typing import TYPE_CHECKING, Annotated

import typer

from shared.operations.cli import Actor, AsJson, DryRun, Tool, actor_of

if TYPE_CHECKING:
    from shared.database import Sessions
    from shared.messaging.parked_events import ParkedFilter

Consumer = Annotated[str | None, typer.Option(help="Of this consumer, such as orders.users.")]
Key = Annotated[str | None, typer.Option(help="Of this key.")]
EventType = Annotated[str | None, typer.Option("--type", help="Of this type, such as user.created.")]
Reason = Annotated[str | None, typer.Option(help="Parked for this reason, such as refused.")]
OneId = Annotated[int | None, typer.Option("--id", min=1, help="This one.")]


def parked_cli(tool: Tool) -> typer.Typer:
    """Each command exits with 1 when something stopped."""
    cli = typer.Typer(help="Events that could not be applied, and those behind them.", no_args_is_help=True)
    _add_looking(cli, tool)
    _add_replay(cli, tool)
    _add_discard(cli, tool)
    return cli


def _add_looking(cli: typer.Typer, tool: Tool) -> None:
    @cli.command(name="list")
    def list_(
        *,
        consumer: Consumer = None,
        key: Key = None,
        type_: EventType = None,
        reason: Reason = None,
        parked_id: OneId = None,
        limit: Annotated[int, typer.Option(min=1, help="Show at most so many.")] = 50,
        as_json: AsJson = False,
    ) -> None:
        """Show those that wait, in the order in which they were parked."""

        async def work(sessions: "Sessions") -> bool:
            from shared.operations.output import print_json, print_line, print_parked

            wanted = filter_of(consumer=consumer, key=key, type_=type_, reason=reason, parked_id=parked_id)
            events = await tool.parked(sessions).find(wanted, limit=limit)
            if as_json:
                print_json(events)
            elif events:
                print_parked(events)
            else:
                print_line("Nothing is parked.")
            return True

        tool.run(work)

    @cli.command()
    def show(parked_id: Annotated[int, typer.Argument(metavar="ID", min=1)], as_json: AsJson = False) -> None:
        """Show one whole: its headers, its data, and what was done about it."""

        async def work(sessions: "Sessions") -> bool:
            from shared.messaging.parked_events import show_parked
            from shared.operations.output import print_detail, print_json
            from shared.operations.parked import ParkedEventNotFound
            from shared.operations.schemas import ParkedEventDetails

            async with sessions() as session:
                parked = await show_parked(session, parked_id)
            if parked is None:
                raise ParkedEventNotFound
            if as_json:
                print_json(ParkedEventDetails.of(parked).model_dump(mode="json"))
            else:
                print_detail(parked)
            return True

        tool.run(work)


def _add_replay(cli: typer.Typer, tool: Tool) -> None:
    @cli.command()
    def replay(
        *,
        consumer: Consumer = None,
        key: Key = None,
        type_: EventType = None,
        reason: Reason = None,
        parked_id: OneId = None,
        all_: Annotated[bool, typer.Option("--all", help="Every key.")] = False,
        limit: Annotated[int | None, typer.Option(min=1, help="At most so many keys, the oldest first.")] = None,
        dry_run: DryRun = False,
        actor: Actor = None,
        as_json: AsJson = False,
    ) -> None:
        """Apply keys again, each in order and up to its first failure."""

        async def work(sessions: "Sessions") -> bool:
            from shared.operations.output import print_json, print_outcomes, progress
            from shared.operations.parked import KeyOutcome, NothingSelected
            from shared.operations.schemas import KeyView

            wanted = filter_of(consumer=consumer, key=key, type_=type_, reason=reason, parked_id=parked_id)
            if wanted.is_empty and not all_:
                raise NothingSelected("Name a filter, or --all.")
            parked = tool.parked(sessions)
            keys = await parked.plan_replay(wanted, limit=limit)
            outcomes = [KeyOutcome(each, 0) for each in keys] if dry_run else []
            if not dry_run:
                done = 0
                with progress("replay", total=sum(each.waiting for each in keys)) as move_to:

                    def applied_one() -> None:
                        nonlocal done
                        done += 1
                        move_to(done)

                    replayed = parked.replay(keys, actor=actor_of(actor), on_applied=applied_one)
                    outcomes = [outcome async for outcome in replayed]
            if as_json:
                applied = sum(outcome.applied for outcome in outcomes)
                views = [KeyView.of(outcome).model_dump(mode="json") for outcome in outcomes]
                print_json({"dry_run": dry_run, "applied": applied, "keys": views})
            else:
                print_outcomes(outcomes, is_dry_run=dry_run)
            return not any(outcome.stopped_by for outcome in outcomes)

        tool.run(work)


def _add_discard(cli: typer.Typer, tool: Tool) -> None:
    @cli.command()
    def discard(
        *,
        reason: Annotated[str, typer.Option(help="Why; it stays on record.")],
        parked_id: Annotated[list[int] | None, typer.Option("--id", min=1, help="Repeat it for several.")] = None,
        consumer: Consumer = None,
        key: Key = None,
        type_: EventType = None,
        parked_for: Annotated[str | None, typer.Option(help="Parked for this reason, such as refused.")] = None,
        limit: Annotated[int | None, typer.Option(min=1, help="At most so many, the oldest first.")] = None,
        yes: Annotated[bool, typer.Option("--yes", help="All that the filter means.")] = False,
        dry_run: DryRun = False,
        actor: Actor = None,
        as_json: AsJson = False,
    ) -> None:
        """Give events up for good; what only stood behind them is applied at once."""

        async def work(sessions: "Sessions") -> bool:
            from shared.operations.output import print_json, print_line, print_parked, progress
            from shared.operations.parked import Discarded, NothingSelected

            wanted = filter_of(consumer=consumer, key=key, type_=type_, reason=parked_for, parked_id=None)
            if bool(parked_id) != wanted.is_empty:
                raise NothingSelected("Name either --id or a filter.")
            if not (parked_id or yes or dry_run):
                raise NothingSelected("A filter also needs --yes; see first what it means with --dry-run.")
            parked = tool.parked(sessions)
            events = await parked.chosen(parked_id) if parked_id else await parked.find(wanted, limit=limit)
            done = Discarded(events, drained=0)
            if not dry_run:
                with progress("discard", total=len(events)) as move_to:
                    done = await parked.discard(
                        [event.id for event in events], actor=actor_of(actor), reason=reason, on_discarded=move_to
                    )
            if as_json:
                print_json({"dry_run": dry_run, "events": done.events, "drained": done.drained})
            else:
                print_parked(done.events)
                print_line(f"{len(done.events)} discarded, {done.drained} that stood behind them applied")
            return True

        tool.run(work)


def filter_of(
    *, consumer: str | None, key: str | None, type_: str | None, reason: str | None, parked_id: int | None
) -> "ParkedFilter":
    """Raises: NothingSelected for a reason that there is not."""
    from shared.messaging.dead_letter import ParkReason
    from shared.messaging.parked_events import ParkedFilter
    from shared.operations.parked import NothingSelected

    if reason is not None and reason not in list(ParkReason):
        raise NothingSelected(f"The reasons are: {', '.join(ParkReason)}.")
    return ParkedFilter(
        consumer=consumer, key=key, type=type_, reason=ParkReason(reason) if reason else None, id=parked_id
    )
