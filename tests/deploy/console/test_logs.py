"""The logs of all processes can be filtered and followed."""

from pathlib import Path

import pytest

from deploy.console.logs.lines import parse_search
from tests.deploy.console.otlp import log_record, logs_of, trace_id
from tests.deploy.console.running_console import Console

POSTGRES_LINE = "2026-09-21 14:13:20.300 UTC [17] ERROR:  deadlock detected\n"
USERS_LINE = "2026-09-21T14:13:20.200000Z [info     ] from_the_file [services.users] service=users user_id=7\n"


async def test_lines_are_filtered_by_all_that_they_say(console: Console) -> None:
    await _write_logs(console)
    assert await _events(console) == ["order_placed", "from_the_file", "deadlock detected", "request_finished", "é <b>"]
    expected = {
        ("process", "orders"): ["order_placed", "request_finished", "é <b>"],
        ("process", "users"): ["from_the_file"],
        ("process", "nobody"): [],
        ("process", "../users"): [],
        ("level", "warning"): ["deadlock detected", "é <b>"],
        ("event", "order_placed"): ["order_placed"],
        ("trace_id", trace_id("order").hex().upper()): ["order_placed"],
        ("trace_id", "no id"): [],
        ("search", "order_id=7"): ["order_placed"],
        ("search", "user_id=7"): ["from_the_file"],
        ("search", "is_new=true status=201"): ["request_finished"],
        ("search", 'error="time out"'): ["é <b>"],
        ("search", "TIME É"): ["é <b>"],
        ("search", "level=error"): ["deadlock detected", "é <b>"],
        ("search", f"trace_id={trace_id('order').hex()}"): ["order_placed"],
        ("search", "services.users"): ["from_the_file"],
        ("since", "2026-09-21T14:13:20.300"): ["deadlock detected", "request_finished", "é <b>"],
        ("until", "2026-09-21T16:13:20.200001+02:00"): ["order_placed", "from_the_file"],
        ("until", "0001-01-01T00:00:00"): [],
        ("since", "9999-12-31T23:59:59"): [],
    }
    found = {given: await _events(console, **dict([given])) for given in expected}
    assert found == expected
    assert await _events(console, level="", event="", search="", since="", until="", limit="2") == [
        "request_finished",
        "é <b>",
    ]


async def test_the_logs_are_followed_by_a_cursor(console: Console) -> None:
    await _write_logs(console)
    page = await console.get("/api/v1/logs", process="orders")
    assert page["has_more"] is False
    assert page["processes"] == ["orders", "orders.log", "postgres", "users"]
    everything = await console.get("/api/v1/logs")
    assert await _events(console, cursor=everything["cursor"]) == []

    await console.export("logs", logs_of("orders", log_record("order_cancelled", at_ms=600)))
    with (console.logs / "postgres.log").open("a") as log:
        log.write(POSTGRES_LINE.replace("deadlock", "another deadlock") + "2026-09-21 14:")
    (console.logs / "valkey.log").write_text("17232:M 22 Sep 2026 14:13:20.900 * Ready\n")

    newer = await console.get("/api/v1/logs", cursor=everything["cursor"])
    assert [line["event"] for line in newer["items"]] == ["another deadlock detected", "order_cancelled", "Ready"]
    assert await _events(console, cursor=newer["cursor"]) == []
    assert await _events(console, cursor=page["cursor"], process="orders") == ["order_cancelled"]
    orders = await console.get("/api/v1/logs", cursor=everything["cursor"], process="orders")
    assert await _events(console, cursor=orders["cursor"]) == ["another deadlock detected", "Ready"]
    for wrong in ("x", "WzFd", "WzEse31d" * 20, "WyJ4Iix7fV0"):
        response = await console.client.get("/api/v1/logs", params={"cursor": wrong})
        assert (response.status_code, response.json()["code"]) == (422, "cursor_invalid")


async def test_a_service_that_sends_its_logs_is_not_read_from_its_file_unless_asked(console: Console) -> None:
    await _write_logs(console)
    await console.export("logs", logs_of("users", log_record("sent")))
    assert await _events(console, process="users") == ["sent"]
    assert await _events(console, process="users.log") == ["from_the_file"]
    assert "from_the_file" not in await _events(console)


async def test_the_page_shows_lines_as_text_and_leads_to_newer_and_older_ones(console: Console) -> None:
    await _write_logs(console)
    page = await console.page("/logs", process="orders", level="", search="")
    assert [page.count(text) for text in ("é &lt;b&gt;", "<b>é <b>", "order_placed", "style=")] == [1, 0, 2, 0]
    assert f'href="/traces/{trace_id("order").hex()}"' in page
    assert 'href="/logs?process=orders&amp;cursor=' in page
    assert "Older lines" not in page

    records = [log_record(f"event_{number}", at_ms=1_000 + number) for number in range(250)]
    await console.export("logs", logs_of("orders", *records))
    page = await console.page("/logs", process="orders")
    assert "event_49<" not in page
    assert 'href="/logs?process=orders&amp;until=2026-09-21T14%3A13%3A21.050000%2B00%3A00"' in page
    assert "No line matches." in await console.page("/logs", search="nothing")
    wrong = await console.client.get("/logs", params={"since": "yesterday"})
    assert (wrong.status_code, wrong.headers["content-type"]) == (422, "text/html; charset=utf-8")


@pytest.mark.parametrize(
    ("search", "keywords", "words"),
    [
        ("order_id=7 lost", (("order_id", "7"),), ("lost",)),
        ('error="connection lost" "two words"', (("error", "connection lost"),), ("two words",)),
        ('un"balanced =x a=', (), ('un"balanced', "=x", "a=")),
        ("url=http://x/?a=b", (("url", "http://x/?a=b"),), ()),
        ("", (), ()),
    ],
)
def test_a_search_is_split_into_keywords_and_words(
    search: str, keywords: tuple[tuple[str, str], ...], words: tuple[str, ...]
) -> None:
    assert parse_search(search) == (keywords, words)


async def _events(console: Console, **filters: str) -> list[str]:
    return [line["event"] for line in (await console.get("/api/v1/logs", **filters))["items"]]


async def _write_logs(console: Console) -> None:
    _write(
        console.logs, users=USERS_LINE, orders="ignored, because the service sends its logs\n", postgres=POSTGRES_LINE
    )
    request = logs_of(
        "orders",
        log_record("order_placed", at_ms=100, trace="order", order_id="7"),
        log_record("request_finished", at_ms=400, status=201, is_new=True),
        log_record("é <b>", at_ms=500, severity=17, error="time out"),
    )
    await console.export("logs", request)


def _write(folder: Path, **files: str) -> None:
    for name, content in files.items():
        (folder / f"{name}.log").write_text(content)
