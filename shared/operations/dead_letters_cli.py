"""The operators' commands for dead letters: list, show, replay, discard."""
# ruff: noqa: PLC0415 - a command imports what it needs when it runs

from typing import TYPE_CHECKING, Annotated

import typer

from shared.messaging.dead_letters.reason import DeadLetterReason
from shared.operations.tool import Actor, AsJson, DryRun, Tool, actor_of

if TYPE_CHECKING:
    from shared.database import Sessions
    from shared.messaging.dead_letters.queries import DeadLetterFilter

Consumer = Annotated[str | None, typer.Option(help="Only this consumer, such as orders.users.")]
Key = Annotated[str | None, typer.Option(help="Only this key.")]
EventType = Annotated[str | None, typer.Option("--type", help="Only this event type, such as user.created.")]
Reason = Annotated[DeadLetterReason | None, typer.Option(help="Only this reason.")]
OneId = Annotated[int | None, typer.Option("--id", min=1, help="Only this dead letter.")]


def dead_letters_cli(tool: Tool) -> typer.Typer:
    """Return the commands. `replay` exits with status 1 if a dead letter failed again."""
    cli = typer.Typer(help="Events that could not be applied, and events queued behind them.", no_args_is_help=True)
    _add_list(cli, tool)
    _add_show(cli, tool)
    _add_replay(cli, tool)
    _add_discard(cli, tool)
    return cli


def _add_list(cli: typer.Typer, tool: Tool) -> None:
    @cli.command(name="list")
    def list_(
        *,
        consumer: Consumer = None,
        key: Key = None,
        type_: EventType = None,
        reason: Reason = None,
        dead_letter_id: OneId = None,
        limit: Annotated[int, typer.Option(min=1, help="Show at most this many.")] = 50,
        as_json: AsJson = False,
    ) -> None:
        """List the unresolved dead letters, oldest first."""

        async def work(sessions: "Sessions") -> bool:
            from shared.operations.output import print_dead_letters, print_json, print_line

            wanted = _filter(consumer=consumer, key=key, type_=type_, reason=reason, dead_letter_id=dead_letter_id)
            found = await tool.dead_letters(sessions).unresolved(wanted, limit=limit)
            if as_json:
                print_json(found)
            elif found:
                print_dead_letters(found)
            else:
                print_line("There are no dead letters.")
            return True

        tool.run(work)


def _add_show(cli: typer.Typer, tool: Tool) -> None:
    @cli.command()
    def show(dead_letter_id: Annotated[int, typer.Argument(metavar="ID", min=1)], as_json: AsJson = False) -> None:
        """Show one dead letter with its headers, its payload, and the actions taken on it."""

        async def work(sessions: "Sessions") -> bool:
            from shared.operations.output import print_detail, print_json
            from shared.operations.schemas import DeadLetterDetailView

            detail = await tool.dead_letters(sessions).show(dead_letter_id)
            if as_json:
                print_json(DeadLetterDetailView.of(detail))
            else:
                print_detail(detail)
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
        dead_letter_id: OneId = None,
        all_: Annotated[bool, typer.Option("--all", help="Replay every blocked key.")] = False,
        limit: Annotated[int | None, typer.Option(min=1, help="At most this many keys, longest blocked first.")] = None,
        dry_run: DryRun = False,
        actor: Actor = None,
        as_json: AsJson = False,
    ) -> None:
        """Apply the selected keys' dead letters again, each key in order and up to its first failure.

        One that is out of order or foreign, or whose envelope could not be read, must be selected by --id or --reason.
        """

        async def work(sessions: "Sessions") -> bool:
            from shared.operations.dead_letters import KeyOutcome
            from shared.operations.output import counting_progress, print_json, print_outcomes
            from shared.operations.replay import KeyReplay
            from shared.operations.schemas import ReplayView

            dead_letters = tool.dead_letters(sessions)
            wanted = _filter(consumer=consumer, key=key, type_=type_, reason=reason, dead_letter_id=dead_letter_id)
            outcomes: list[KeyOutcome] = []
            with counting_progress("replay", total=None) as count_one:
                async for keys in dead_letters.pages_for_replay(wanted, all_keys=all_, limit=limit):
                    if dry_run:
                        outcomes += [KeyOutcome(each, KeyReplay(0)) for each in keys]
                        continue
                    replays = dead_letters.replay(keys, wanted=wanted, actor=actor_of(actor), on_applied=count_one)
                    outcomes += [outcome async for outcome in replays]
            if as_json:
                print_json(ReplayView.of(outcomes, dry_run=dry_run))
            else:
                print_outcomes(outcomes, is_dry_run=dry_run)
            return not any(outcome.replay.stopped_by for outcome in outcomes)

        tool.run(work)


def _add_discard(cli: typer.Typer, tool: Tool) -> None:
    @cli.command()
    def discard(
        *,
        note: Annotated[str, typer.Option(help="The reason, for the record.")],
        ids: Annotated[list[int] | None, typer.Option("--id", min=1, help="One dead letter; may be repeated.")] = None,
        consumer: Consumer = None,
        key: Key = None,
        type_: EventType = None,
        reason: Reason = None,
        limit: Annotated[int | None, typer.Option(min=1, help="At most this many, oldest first.")] = None,
        yes: Annotated[bool, typer.Option("--yes", help="Confirm what a filter selects; required with it.")] = False,
        dry_run: DryRun = False,
        actor: Actor = None,
        as_json: AsJson = False,
    ) -> None:
        """Discard dead letters permanently, and apply the events that only they blocked."""

        async def work(sessions: "Sessions") -> bool:
            from shared.operations.dead_letters import Discarded, NothingSelected
            from shared.operations.output import print_dead_letters, print_json, print_line, progress
            from shared.operations.schemas import DiscardView

            dead_letters = tool.dead_letters(sessions)
            wanted = _filter(consumer=consumer, key=key, type_=type_, reason=reason, dead_letter_id=None)
            selected = await dead_letters.select_for_discard(wanted, ids=ids or (), limit=limit)
            if not (ids or yes or dry_run):
                raise NothingSelected("A filter also needs --yes; use --dry-run to see what it selects.")
            done = Discarded(selected, drained=0)
            if not dry_run:
                with progress("discard", total=len(selected)) as set_done:
                    done = await dead_letters.discard(selected, actor=actor_of(actor), note=note, on_discarded=set_done)
            if as_json:
                print_json(DiscardView.of(done, dry_run=dry_run))
            else:
                print_dead_letters(done.dead_letters)
                count = len(done.dead_letters)
                applied = f"{count} discarded, {done.drained} blocked events applied"
                print_line(f"{count} would be discarded" if dry_run else applied)
            return True

        tool.run(work)


def _filter(
    *,
    consumer: str | None,
    key: str | None,
    type_: str | None,
    reason: DeadLetterReason | None,
    dead_letter_id: int | None,
) -> "DeadLetterFilter":
    from shared.messaging.dead_letters.queries import DeadLetterFilter

    return DeadLetterFilter(consumer=consumer, key=key, type=type_, reason=reason, id=dead_letter_id)
