"""The operators' command after a database was restored."""
# ruff: noqa: PLC0415 - a command imports what it needs when it runs

from typing import TYPE_CHECKING, Annotated

import typer

from shared.operations.tool import Actor, AsJson, DryRun, Tool, actor_of

if TYPE_CHECKING:
    from shared.database import Sessions


def add_recover(cli: typer.Typer, tool: Tool) -> None:
    """Add the command `recover`."""

    @cli.command()
    def recover(
        *,
        note: Annotated[str, typer.Option(help="Reason, for the record.")] = "restored",
        actor: Actor = None,
        dry_run: DryRun = False,
        as_json: AsJson = False,
    ) -> None:
        """Continue after a restore from a dump; repeatable, and harmless if nothing was lost.

        Consumers of this service accept its new events, and it reads again what its database has not seen. After a
        fail-over and after a point-in-time recovery the service does all of this itself.
        """

        async def work(sessions: "Sessions") -> bool:
            from shared.operations import recovery
            from shared.operations.output import print_json, print_recovery

            async with sessions.begin() as session:
                if dry_run:
                    found = await recovery.show_recovery(session, tool.subscriptions())
                else:
                    found = await recovery.recover(session, tool.subscriptions(), actor=actor_of(actor), note=note)
            if as_json:
                print_json(found)
            else:
                print_recovery(found)
            return True

        tool.run(work)
