"""Errors of drivers and libraries, caused for real with personal data, and described without them."""

import asyncio
import io
import logging
from collections.abc import Awaitable, Callable
from typing import Literal

import aiosmtplib
import asyncpg
import pytest
import sqlalchemy as sa
import structlog
from pydantic import TypeAdapter

from shared.connection_urls import dsn_of
from shared.database import Database
from shared.error_descriptions import describe_error
from shared.errors import Conflict
from shared.logging import configure_logging

pytestmark = pytest.mark.usefixtures("restored_logging")

SECRET = "ada@orderly.example"
Fail = Callable[[Database], Awaitable[object]]


async def _execute(database: Database, *statements: str) -> None:
    async with database.engine.begin() as connection:
        for statement in statements:
            await connection.execute(sa.text(statement), {"value": SECRET} if ":value" in statement else {})


async def _repeat_key(database: Database) -> None:
    insert = "INSERT INTO event_stream (topic, key, sequence, moved_on) VALUES ('users', :value, 1, current_date)"
    await _execute(database, insert, insert)


async def _break_check(database: Database) -> None:
    await _execute(
        database,
        """INSERT INTO operation (id, kind, actor, parameters, status, total)
           VALUES (uuidv7(), 'resend', 'ada', '{}', :value, 0)""",
    )


async def _cast_to_number(database: Database) -> None:
    await _execute(database, "SELECT CAST(CAST(:value AS text) AS integer)")


async def _pass_text_as_number(database: Database) -> None:
    connection = await asyncpg.connect(dsn_of(database.engine.url.render_as_string(hide_password=False)))
    try:
        await connection.fetch("SELECT $1::integer", SECRET)
    finally:
        await connection.close()


async def _select_unknown_column(database: Database) -> None:
    await _execute(database, "SELECT no_such_column")


async def _validate(_database: Database) -> None:
    TypeAdapter(dict[str, int]).validate_python({"age": SECRET})


async def _miss_key(_database: Database) -> None:
    dict[str, int]()[SECRET]


async def _refuse_mail(_database: Database) -> None:
    raise aiosmtplib.SMTPResponseException(550, f"<{SECRET}>: unknown user")


async def _close_connection(_database: Database) -> None:
    raise aiosmtplib.SMTPServerDisconnected(f"while sending to {SECRET}")


async def _connect_to_closed_port(_database: Database) -> None:
    await asyncio.open_connection("127.0.0.1", 9)


async def _conflict(_database: Database) -> None:
    raise Conflict(f"{SECRET} exists already")


async def _error_of(fail: Fail, database: Database) -> Exception:
    try:
        await fail(database)
    except Exception as error:  # noqa: BLE001 - of any kind
        return error
    raise AssertionError("nothing failed")


@pytest.mark.parametrize(
    ("fail", "description"),
    [
        (_repeat_key, "UniqueViolationError: SQLSTATE 23505, constraint pk_event_stream, table event_stream"),
        (_break_check, "CheckViolationError: SQLSTATE 23514, constraint ck_operation_status, table operation"),
        (_cast_to_number, "InvalidTextRepresentationError: SQLSTATE 22P02"),
        (_pass_text_as_number, "DataError: SQLSTATE 22000"),
        (_select_unknown_column, 'UndefinedColumnError: SQLSTATE 42703, column "no_such_column" does not exist'),
        (_validate, "ValidationError: age: int_parsing"),
        (_miss_key, "KeyError: in _miss_key, test_error_descriptions.py:"),
        (_refuse_mail, "SMTPResponseException: in _refuse_mail, "),
        (_close_connection, "SMTPServerDisconnected"),
        (_connect_to_closed_port, "ConnectionRefusedError: Connect call failed ('127.0.0.1', 9)"),
        (_conflict, "Conflict: conflict"),
    ],
)
@pytest.mark.parametrize("format_", ["json", "console"])
async def test_no_value_reaches_a_description_or_a_log(
    database: Database, fail: Fail, description: str, format_: Literal["json", "console"]
) -> None:
    written = io.StringIO()
    configure_logging("orders", format=format_, stream=written)
    error = await _error_of(fail, database)

    structlog.get_logger().error("failed", exc_info=error)
    logging.getLogger("library").error("failed", exc_info=error)
    structlog.get_logger().error("failed", exc_info=ExceptionGroup(SECRET, [error]))
    assert describe_error(error).startswith(description)
    assert SECRET not in describe_error(error)
    assert written.getvalue().count("failed") >= 3
    assert SECRET not in written.getvalue()
    assert description.partition(":")[0] in written.getvalue()


async def test_a_task_whose_error_nobody_reads_is_logged_without_values() -> None:
    written = io.StringIO()
    configure_logging("orders", stream=written)

    async def fail() -> None:
        raise ValueError(SECRET)

    task = asyncio.create_task(fail())
    await asyncio.wait([task])
    logging.getLogger("asyncio").error(
        "Task exception was never retrieved\nfuture: %r", task, exc_info=task.exception()
    )
    assert "Task exception was never retrieved" in written.getvalue()
    assert SECRET not in written.getvalue()
