"""The page of a campaign has what is needed to find a fault's way to a violation, and nothing that the disk lacks."""

import json
import re
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from deploy.audit.findings import Finding
from deploy.local.screen import Screen
from tests.chaos.__main__ import Campaigns
from tests.chaos.campaign import CampaignResult
from tests.chaos.histories.hand_written import order, request
from tests.chaos.histories.recorder import Recorder
from tests.chaos.history_page import lanes
from tests.chaos.history_page.events import Clock, DeadLetter, Event, Events
from tests.chaos.history_page.page import Heading, render
from tests.chaos.history_page.record import CampaignRecord
from tests.chaos.injector import InjectedFault

ORDER_ID, USER_ID = "0199a6e2-7c1e-7b7c-8a55-0d6b8f4f2c11", "0199a6e3-02d4-7f0a-b1c6-6a1f0e2d9b77"
EVENT_ID = UUID(int=7)
HEADING = Heading("orders", 402, has_passed=False)
EXTERNAL = re.compile(r"(?:src|href)\s*=\s*(?![\"']?#)|url\(|@import|https?://|fetch\(|import\s")
LISTS = {"faults": "FAULT", "requests": "REQUEST", "events": "EVENT", "deadLetters": "DEAD"}
"""The constant of page.js with the members of each list in the data."""


def event(key: str = ORDER_ID, sequence: int = 1, topic: str = "orders", number: str | None = "O-2K7WQ9XA") -> Event:
    return Event(
        database=topic,
        topic=topic,
        key=key,
        sequence=sequence,
        type="order.created",
        event_id=EVENT_ID,
        number=number,
        committed=1.5,
        sent=1.75,
        applied={"users.orders": 2.0},
    )


DEAD_LETTER = DeadLetter(
    consumer="users.orders",
    topic="orders",
    key=ORDER_ID,
    sequence=2,
    type="order.cancelled",
    reason="retrying",
    error="ZeroDivisionError",
    at=2.5,
    resolution=None,
    resolved=None,
)


def record_of(*requests: Any, faults: tuple[InjectedFault, ...] = ()) -> CampaignRecord:
    recorder = Recorder(requests=list(requests), began=100.0)
    return CampaignRecord(recorder, faults)


def data_of(page: str) -> dict[str, Any]:
    """Return what the script of the page draws."""
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', page)
    assert match
    data: dict[str, Any] = json.loads(match[1])
    return data


def test_a_page_shows_faults_requests_events_and_dead_letters_of_each_key() -> None:
    faults = (
        InjectedFault("partition-network", began=101.0, ended=104.0, detail="orders from kafka"),
        InjectedFault("kill-gateway", began=102.0),
    )
    placed = order(1.2, 1.6, order_id=ORDER_ID)
    page = render(HEADING, record_of(placed, faults=faults), Events(9.0, [event()], [DEAD_LETTER]), [])
    data = data_of(page)
    assert "seed 402" in page
    assert data["faults"] == [["partition-network", "orders from kafka", 1.0, 4.0], ["kill-gateway", "", 2.0, None]]
    (lane,) = data["lanes"]
    assert (lane["topic"], lane["key"], lane["alias"]) == ("orders", ORDER_ID, "O-2K7WQ9XA")
    assert lane["events"] == [[1, 0, 1.5, 1.75, [[0, 2.0]]]]
    assert (data["types"], data["consumers"]) == (["order.created"], ["users.orders"])
    assert lane["deadLetters"] == [
        ["users.orders", 2, "order.cancelled", "retrying", "ZeroDivisionError", 2.5, None, ""]
    ]
    ((_, session, what, began, ended, outcome, answer, version, *_),) = lane["requests"]
    assert (session, what, began, ended, outcome, answer, version) == (
        "a", "POST /v1/orders", 1.2, 1.6, "SUCCESS", "201", 1,
    )  # fmt: skip


@pytest.mark.parametrize("name", [ORDER_ID, "O-2K7WQ9XA", str(EVENT_ID)])
def test_a_violation_leads_to_the_lane_of_its_key(name: str) -> None:
    other = event("0199a6e2-0000-7b7c-8a55-0d6b8f4f2c11", number="O-AAAAAAAA")
    other.event_id = UUID(int=8)
    finding = Finding("No order is pending", [f"order {name}: pending"])
    page = render(HEADING, record_of(), Events(9.0, [other, event()]), [finding, Finding("Another one", [])])
    assert "1 of 2 invariants violated" in page
    assert f'<a href="#lane-0">→ orders {ORDER_ID}</a>' in page
    assert [lane["violations"] for lane in data_of(page)["lanes"]] == [1, 0]


def test_a_violation_that_names_a_product_leads_to_it_and_an_amount_does_not() -> None:
    of_product = request("GET", "/v1/products/22423", 1, 2, version=1)
    texts = ["products 22423: 3 reserved, but the stock is 2", "22423 cents reserved"]
    page = render(HEADING, record_of(of_product), Events(9.0), [Finding("Stock", texts)])
    assert page.count("#lane-0") == 1


def test_requests_about_credit_and_lists_are_in_the_lane_of_their_user() -> None:
    record = record_of(
        request("GET", f"/v1/users/{USER_ID}/credit", 1, 2), request("PUT", f"/v1/users/{USER_ID}/credit-limit", 3, 4)
    )
    (lane,) = data_of(render(HEADING, record, Events(9.0), []))["lanes"]
    assert (lane["topic"], lane["key"], len(lane["requests"])) == ("users", USER_ID, 2)


def test_a_page_is_complete_without_other_files_or_a_network() -> None:
    page = render(HEADING, record_of(order(1, 2)), Events(9.0, [event()]), [Finding("Orders", [ORDER_ID])])
    assert EXTERNAL.findall(page) == []


def test_texts_cannot_end_the_script_or_add_elements() -> None:
    hostile = "</script><img src=x>"
    page = render(
        HEADING,
        record_of(request("GET", f"/v1/products/{hostile}", 1, 2)),
        Events(9.0, unavailable=[hostile]),
        [Finding(hostile, [hostile])],
    )
    assert hostile not in page
    assert data_of(page)["lanes"][0]["key"] == hostile.partition("/")[0]


def test_a_page_stays_small_and_says_what_it_lacks() -> None:
    keys = [f"{number:08x}-7c1e-7b7c-8a55-0d6b8f4f2c11" for number in range(30)]
    events = [event(key, sequence, number=None) for key in keys for sequence in range(lanes.MAX_MARKS // 10)]
    named = events[-1].key
    page = render(HEADING, record_of(), Events(9.0, events), [Finding("Orders", [f"order {named}"])])
    kept = data_of(page)["lanes"]
    assert sum(len(lane["events"]) for lane in kept) == lanes.MAX_MARKS
    assert kept[0]["key"] == named
    assert f"{2 * lanes.MAX_MARKS:,} requests and events" in page
    assert "20 keys" in page


def test_the_largest_page_has_a_few_megabytes() -> None:
    requests = [order(1, 2, order_id=ORDER_ID, sent={"items": "3 x 85123A, 2 x 71053"})] * (lanes.MAX_MARKS // 2)
    events = [event(sequence=number) for number in range(lanes.MAX_MARKS)]
    page = render(HEADING, record_of(*requests), Events(9.0, events), [])
    assert sum(len(lane["requests"]) + len(lane["events"]) for lane in data_of(page)["lanes"]) == lanes.MAX_MARKS
    assert len(page.encode()) < 5_000_000


@pytest.mark.parametrize("shift_seconds", [0, 600, -600])
def test_times_of_a_clock_that_a_fault_has_shifted_are_corrected(shift_seconds: int) -> None:
    began_at = Recorder().began_at
    clock = Clock(began_at, ended=90.0)
    assert clock.seconds(began_at + timedelta(seconds=shift_seconds + 42)) == 42


def test_the_script_names_every_member_of_the_lists() -> None:
    script = (Path(lanes.__file__).parent / "page.js").read_text()
    fault = InjectedFault("kill-gateway", began=101.0)
    page = render(
        HEADING, record_of(order(1, 2, order_id=ORDER_ID), faults=(fault,)), Events(9.0, [event()], [DEAD_LETTER]), []
    )
    data = data_of(page)
    for name, constant in LISTS.items():
        members = re.search(rf"const {constant} = \{{(.*?)\}}", script, re.DOTALL)
        assert members
        numbers = [int(number) for number in re.findall(r"\w+: (\d+)", members[1])]
        written = data[name] if name in data else data["lanes"][0][name]
        assert numbers == list(range(len(written[0]))), name


@pytest.mark.parametrize(
    ("has_passed", "writes_all", "is_written"), [(False, False, True), (True, False, False), (True, True, True)]
)
async def test_a_campaign_that_fails_leaves_its_history(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], has_passed: bool, writes_all: bool, is_written: bool
) -> None:
    campaigns = Campaigns(
        screen=Screen(),
        seeds=range(1),
        seconds=1,
        workloads=[],
        faults=[],
        mean_interval_seconds=1,
        greylisting_seconds=1,
        writes_history_of_all=writes_all,
    )
    finding = Finding("No order is pending", [] if has_passed else ["order O-2K7WQ9XA is pending"])
    result = CampaignResult(seed=7, workload="orders", findings=[finding], faults=Counter())
    record = CampaignRecord(databases={"orders": "postgresql://nobody@127.0.0.1:9/orders"})
    await campaigns.report(result, record, folder=tmp_path)
    file = tmp_path / "orders-7" / "history.html"
    assert file.exists() == is_written
    printed = capsys.readouterr().out
    assert (str(file) in printed) == is_written
    if is_written:
        # A database that is down takes no page away.
        assert "A database could not be read" in file.read_text()
