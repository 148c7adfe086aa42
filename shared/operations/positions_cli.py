"""The operators' commands for positions: show, reset."""
# ruff: noqa: PLC0415 - a command imports what it needs when it runs

from typing import TYPE_CHECKING, Annotated

import typer

from shared.messaging.envelope import MAX_SEQUENCE
from shared.operations.tool import Actor, AsJson, Tool, actor_of

if TYPE_CHECKING:
    from shared.database import Sessions
    from shared.operations.positions import KeyPosition

Consumer = Annotated[str, typer.Option(help="The consumer, such as orders.users.")]
Key = Annotated[str, typer.Option(help="The key.")]


def positions_cli(tool: Tool) -> typer.Typer:
    """Return the commands."""
    cli = typer.Typer(help="The position of a consumer in a key.", no_args_is_help=True)

    @cli.command()
    def show(*, consumer: Consumer, key: Key, as_json: AsJson = False) -> None:
        """Show the last sequence that a consumer has seen of a key, and the resets of it."""

        async def work(sessions: "Sessions") -> bool:
            _print(await tool.positions(sessions).show(consumer=consumer, key=key), as_json=as_json)
            return True

        tool.run(work)

    @cli.command()
    def reset(
        *,
        consumer: Consumer,
        key: Key,
        note: Annotated[str, typer.Option(help="The reason, for the record.")],
        to: Annotated[
            int, typer.Option(min=0, max=MAX_SEQUENCE, help="The sequence of the last event that counts as seen.")
        ] = 0,
        actor: Actor = None,
        as_json: AsJson = False,
    ) -> None:
        """Set the last sequence that a consumer has seen of a key; events that it has applied stay applied."""

        async def work(sessions: "Sessions") -> bool:
            position = await tool.positions(sessions).reset(
                consumer=consumer, key=key, to=to, actor=actor_of(actor), note=note
            )
            _print(position, as_json=as_json)
            return True

        tool.run(work)

    return cli


def _print(position: "KeyPosition", *, as_json: bool) -> None:
    from shared.operations.output import print_json, print_position
    from shared.operations.position_schemas import PositionView

    if as_json:
        print_json(PositionView.model_validate(position))
    else:
        print_position(position)
