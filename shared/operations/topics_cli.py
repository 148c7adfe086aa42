"""The operators' commands for the topics that a service publishes."""
# ruff: noqa: PLC0415 - a command imports what it needs when it runs

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Annotated

import typer

from shared.operations.tool import Actor, AsJson, Tool, actor_of

if TYPE_CHECKING:
    from shared.database import Sessions
    from shared.messaging.outbox.partitions import TopicPartitions
    from shared.operations.runs import Operation
    from shared.operations.topics import Repartition, TopicOperations

Timeout = Annotated[
    float, typer.Option("--timeout", min=0, help="Seconds to wait until the consumers have caught up; then give up.")
]
SkippedGroups = Annotated[
    list[str] | None,
    typer.Option("--skip-group", help="A consumer group that is not waited for; may be repeated. Only for dead ones."),
]


def topics_cli(tool: Tool) -> typer.Typer:
    """Return the commands of one service."""
    cli = typer.Typer(help="The topics that this service publishes, and their partitions.", no_args_is_help=True)

    @cli.command("list")
    def list_topics(as_json: AsJson = False) -> None:
        """Show the partitions of each topic, and those that its keys are hashed over."""

        async def work(sessions: "Sessions") -> bool:
            from shared.operations.output import print_json, print_topics

            async def show() -> None:
                topics: list[TopicPartitions] = await _topics_of(tool, sessions).topics()
                if as_json:
                    print_json(topics)
                else:
                    print_topics(topics)

            return await _unless_it_fails(show())

        tool.run(work)

    @cli.command()
    def set_partitions(
        topic: str,
        partitions: int,
        *,
        timeout_seconds: Timeout = 60,
        skip_group: SkippedGroups = None,
        actor: Actor = None,
        as_json: AsJson = False,
    ) -> None:
        """Give a topic more partitions. Until the consumers have caught up, the service publishes nothing."""

        async def work(sessions: "Sessions") -> bool:
            from shared.operations.topics import Repartition

            wanted = Repartition(
                topic=topic,
                partitions=partitions,
                actor=actor_of(actor),
                timeout_seconds=timeout_seconds,
                skipped_groups=skip_group or (),
            )
            return await _unless_it_fails(_repartition(_topics_of(tool, sessions), wanted, as_json=as_json))

        tool.run(work)

    return cli


def _topics_of(tool: Tool, sessions: "Sessions") -> "TopicOperations":
    from shared.messaging.kafka import kafka_of
    from shared.operations.topics import TopicOperations

    return TopicOperations(service=tool.service, sessions=sessions, kafka=kafka_of(tool.load_settings()))


async def _repartition(topics: "TopicOperations", wanted: "Repartition", *, as_json: bool) -> None:
    from shared.operations.output import print_json, print_line

    reported: dict[str, int] = {}

    def report(lag: dict[str, int]) -> None:
        if not reported:
            typer.echo(f"The service publishes nothing. Waiting for {_describe_lag(lag)} ...", err=True)
        reported.update(lag)

    operation: Operation | None = await topics.repartition(wanted, on_lag=report)
    if as_json:
        print_json({"topic": wanted.topic, "partitions": wanted.partitions, "is_changed": operation is not None})
    elif operation is None:
        print_line(f"{wanted.topic} has {wanted.partitions} partitions already")
    else:
        print_line(f"{wanted.topic} has {wanted.partitions} partitions now, and its keys are hashed over them")


async def _unless_it_fails(work: Awaitable[None]) -> bool:
    """Await the work; report an error that an operator should read, and return False."""
    from shared.messaging.outbox.pages import LeaseLost
    from shared.operations.topics import ConsumersLag

    try:
        await work
    except ConsumersLag as error:
        typer.echo(f"Nothing was changed: the consumers have not caught up. {_describe_lag(error.lag)}", err=True)
    except LeaseLost:
        typer.echo("The keys stay where they are: another process has taken the lease over. Repeat it.", err=True)
    else:
        return True
    return False


def _describe_lag(lag: dict[str, int]) -> str:
    return ", ".join(f"{group} ({records} records)" for group, records in sorted(lag.items()))
