"""Log files are read in bounded pieces, across rotations and damaged lines, in all formats that processes here use."""

import os
import time
from datetime import UTC, datetime
from pathlib import Path

from deploy.console.logs.files import MAX_LINE_CHARACTERS, lines_of, read_tail
from deploy.console.logs.formats import ParsedLine, parse_line

AT = datetime(2026, 11, 29, 21, 21, 15, 595_000, tzinfo=UTC)
AT_IN_ZONE = AT.replace(tzinfo=None).astimezone(UTC)
"""The time that is written like `AT` by programs that write times of the machine's zone."""
CONSOLE_LINE = (
    "2026-11-29T21:21:15.595000Z [warning  ] request_finished               [shared.http] duration_ms=6.2"
    " error='connection lost' roles=[<Role.API: 'api'>, <Role.JOBS: 'jobs'>] service=users trace_id=9f71"
)
JSON_LINE = '{"level":"warn","entryPoint":"web","time":"2026-11-29T21:21:15.595Z","message":"not configured"}'

LINES = {
    CONSOLE_LINE: ParsedLine(
        event="request_finished",
        level="warning",
        at=AT,
        logger="shared.http",
        fields={
            "duration_ms": "6.2",
            "error": "connection lost",
            "roles": "[<Role.API: 'api'>, <Role.JOBS: 'jobs'>]",
            "trace_id": "9f71",
        },
    ),
    "2026-11-29 21:21:15.595 UTC [17] LOG:  starting PostgreSQL": ParsedLine(
        event="starting PostgreSQL", level="info", at=AT, fields={"pid": "17"}
    ),
    "2026-11-29 21:21:15.595 UTC [17] users@users FATAL:  the database system is starting up": ParsedLine(
        event="the database system is starting up",
        level="error",
        at=AT,
        fields={"pid": "17", "session": "users@users"},
    ),
    "2026-11-29 21:21:15.595 UTC [17] DETAIL:  more": ParsedLine(event="DETAIL: more", at=AT, fields={"pid": "17"}),
    "2026-11-29T21:21:15,595 WARN  QuorumController [id=1] Performing controller activation.": ParsedLine(
        event="[id=1] Performing controller activation.", level="warning", at=AT_IN_ZONE, logger="QuorumController"
    ),
    "17232:M 29 Nov 2026 21:21:15.595 # Out of memory": ParsedLine(
        event="Out of memory", level="warning", at=AT_IN_ZONE, fields={"pid": "17232"}
    ),
    JSON_LINE: ParsedLine(event="not configured", level="warning", at=AT, fields={"entryPoint": "web"}),
    "WARNING: users begins incarnation 0001.": ParsedLine(event="users begins incarnation 0001.", level="warning"),
    '{"half": ': ParsedLine(event='{"half": '),
    "2026-99-99 21:21:15.595 UTC [17] LOG:  never": ParsedLine(event="2026-99-99 21:21:15.595 UTC [17] LOG:  never"),
    "    at kafka.Kafka.main(Kafka.scala:1)": ParsedLine(event="    at kafka.Kafka.main(Kafka.scala:1)"),
}


def test_the_end_of_a_file_is_read_and_then_what_is_added(tmp_path: Path) -> None:
    file = tmp_path / "users.log"
    file.write_text("".join(f"line {number}\n" for number in range(1_000)) + "begun ")
    first = read_tail(file, max_bytes=40)
    assert first.lines == ["line 997", "line 998", "line 999"]

    with file.open("ab") as log:
        log.write(b"and ended\n\n\xff\xfe no UTF-8 \x00\nnext begun")
    second = read_tail(file, after=first.position)
    assert second.lines == ["begun and ended", "�� no UTF-8 \0"]
    assert read_tail(file, after=second.position).lines == []

    with file.open("a") as log:
        log.write(" is cut " + "x" * 10_000 + "\n")
    [long] = read_tail(file, after=second.position).lines
    assert (long[:18], len(long)) == ("next begun is cut ", MAX_LINE_CHARACTERS)


def test_more_than_can_be_read_at_once_is_skipped_up_to_a_whole_line(tmp_path: Path) -> None:
    file = tmp_path / "users.log"
    file.write_text("first\n")
    position = read_tail(file).position
    with file.open("a") as log:
        log.writelines(f"line {number}\n" for number in range(1_000))
    assert read_tail(file, after=position, max_bytes=40).lines == ["line 996", "line 997", "line 998", "line 999"]


def test_a_rotated_file_is_read_to_its_end_before_the_new_one(tmp_path: Path) -> None:
    file = tmp_path / "users.log"
    file.write_text("one\n")
    position = read_tail(file).position
    with file.open("a") as log:
        log.write("two\n")
    file.rename(tmp_path / "users.log.1")
    file.write_text("three\n")
    tail = read_tail(file, after=position)
    assert tail.lines == ["two", "three"]

    file.write_text("4\n")  # cut in place, as by a shell's redirection
    assert read_tail(file, after=tail.position).lines == ["4"]


def test_the_last_words_of_a_killed_process_are_shown(tmp_path: Path) -> None:
    file = tmp_path / "users.log"
    file.write_text("whole\nhalf a li")
    assert read_tail(file).lines == ["whole"]
    os.utime(file, (time.time() - 10, time.time() - 10))
    assert read_tail(file).lines == ["whole", "half a li"]


def test_lines_of_all_programs_are_understood() -> None:
    assert {line: parse_line(line) for line in LINES} == LINES


def test_a_line_without_a_time_has_that_of_the_line_before(tmp_path: Path) -> None:
    file = tmp_path / "kafka.log"
    file.write_text(
        "half a stack trace\n2026-11-29 21:21:15.595 UTC [17] ERROR:  broken\n  at main\n"
        "2026-11-29 21:21:16.595 UTC [17] LOG:  repaired\n"
    )
    lines = [(line.at.second, line.level, line.event) for line in lines_of("kafka", read_tail(file))]
    assert lines == [
        (15, "info", "half a stack trace"),
        (15, "error", "broken"),
        (15, "error", "  at main"),
        (16, "info", "repaired"),
    ]
