"""An error that a server has caused ends a command with one line; its own errors keep their traceback."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import typer
from aiokafka.errors import TopicAuthorizationFailedError

from shared.command import run_command
from shared.messaging.kafka import KafkaConnection
from shared.messaging.topics import create_topics


async def connect_to_nothing() -> None:
    await asyncpg.connect("postgresql://nobody@127.0.0.1:1/nothing")


async def create_topics_nowhere() -> None:
    await create_topics(KafkaConnection("127.0.0.1:1"))


async def be_rejected() -> None:
    raise TopicAuthorizationFailedError("users")


async def open_a_missing_file() -> None:
    Path("/nowhere").read_text()  # noqa: ASYNC240 - the error is the point


async def print_into_a_closed_pipe() -> None:
    raise BrokenPipeError


@pytest.mark.parametrize(
    ("work", "beginning"),
    [
        (connect_to_nothing, "The database does not answer: "),
        (create_topics_nowhere, "Kafka does not answer: "),
        (be_rejected, "Kafka has rejected a request: "),
    ],
)
def test_the_server_that_caused_an_error_is_named_in_one_line(
    work: Callable[[], Coroutine[Any, Any, None]], beginning: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as ended:
        run_command(work())
    [line] = capsys.readouterr().err.splitlines()
    assert (ended.value.exit_code, line[: len(beginning)]) == (1, beginning)


@pytest.mark.parametrize(
    ("work", "error"), [(open_a_missing_file, FileNotFoundError), (print_into_a_closed_pipe, BrokenPipeError)]
)
def test_an_error_of_the_command_itself_is_raised(
    work: Callable[[], Coroutine[Any, Any, None]], error: type[Exception]
) -> None:
    with pytest.raises(error):
        run_command(work())


def test_the_result_is_returned() -> None:
    assert run_command(asyncio.sleep(0, result="done")) == "done"
