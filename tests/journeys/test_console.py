"""Every page and every button of the console, in Chromium, on the whole system of `make run`."""

from collections.abc import AsyncIterator
from functools import partial
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from playwright.async_api import Browser, expect

from deploy.demo.accounts import Account, signed_in_admin
from deploy.demo.client import Client
from deploy.local.credentials import SERVICES
from tests.harness.browser import running_browser
from tests.harness.local_run import LocalRun, local_run
from tests.harness.waiting import until
from tests.journeys.console_pages import ConsolePages

PLACES = (
    "/",
    "/flow",
    "/orders",
    "/traces",
    "/logs",
    "/dead-letters",
    "/stuck",
    "/invariants",
    "/break-it",
    "/exports",
)
EMAIL = "ada@orderly.example"
PASSWORD = "correct horse battery"  # a user of this test


class Customer:
    """A customer with a verified address, who places orders through the gateway."""

    def __init__(self, client: Client, account: Account) -> None:
        self._client = client
        self._account = account

    @classmethod
    async def of(cls, run: LocalRun) -> "Customer":
        client, account = Client(run.http), Account(EMAIL, PASSWORD)
        admin = await signed_in_admin(client, password=run.admin_password)
        body = {"email": EMAIL, "name": "Ada", "password": PASSWORD}
        await admin.send(client, "POST", "/v1/users/verified", json=body, key="console-test-user")
        await account.sign_in(client)
        return cls(client, account)

    async def order(self, key: str) -> dict[str, str]:
        """Place an order, once for each key."""
        products = await self._client.send("GET", "/v1/products", params={"limit": "1"})
        items = [{"sku": products.body["items"][0]["sku"], "quantity": 1}]
        answer = await self._account.send(self._client, "POST", "/v1/orders", json={"items": items}, key=key)
        assert answer.status == 201, answer
        return answer.body

    async def is_confirmed(self, order_id: str) -> bool:
        answer = await self._account.send(self._client, "GET", f"/v1/orders/{order_id}")
        return bool(answer.body["status"] == "confirmed")


@pytest.fixture
async def run() -> AsyncIterator[LocalRun]:
    # Not pytest's folder: the user that PostgreSQL runs as cannot enter its parents.
    with TemporaryDirectory() as folder:
        async with local_run(Path(folder) / "local", wal_archive="off") as system:
            yield system


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with running_browser() as chromium:
        yield chromium


async def test_every_page_and_button_works(run: LocalRun, browser: Browser) -> None:
    customer = await Customer.of(run)
    order = await customer.order("console-test-1")
    desk = await ConsolePages.open(browser, run.console_url)
    phone = await ConsolePages.open(browser, run.console_url, dark=True, phone=True)

    await _find_the_order(desk, phone, order)
    for path in PLACES:
        await desk.check(path)
        await phone.check(path)
    trace_id = await _read_its_trace_and_its_logs(desk, order)
    await _open_an_export(desk, trace_id)
    await _handle_a_dead_letter(desk)
    await _send_events_again(desk)
    await _stop_and_start_a_process(desk)
    await _start_a_load_and_a_wrong_build(desk)
    await _break_everything(desk, run)
    await _discard_poison(desk)

    for number in range(2, 5):
        order = await customer.order(f"console-test-{number}")
        await until(partial(customer.is_confirmed, order["id"]), what="the order is confirmed")
    await desk.visit("/invariants")
    await desk.shows("all green", seconds=90)
    assert desk.problems == phone.problems == []


async def _find_the_order(desk: ConsolePages, phone: ConsolePages, order: dict[str, str]) -> None:
    """Find it by its e-mail address, its number, and one of its events; read its journey up to the mail."""
    await desk.visit("/orders")
    await desk.fill("Order number or id, event id, or the customer's e-mail address", EMAIL)
    await desk.press("Find")
    await desk.follow(order["number"])
    await desk.shows("The order is confirmed, and the customer was told.")
    await desk.shows("users.orders: applied")
    await desk.shows("The mail server accepted the mail")
    await desk.check(f"/orders/{order['id']}")
    await phone.check(f"/orders/{order['id']}")
    await desk.visit("/flow")
    await desk.page.locator("svg a[href='/flow/orders']").first.click()
    await desk.shows("order.confirmed")
    await desk.check("/flow/orders")
    await desk.follow("Order")
    await desk.shows("The order is confirmed, and the customer was told.")
    await desk.visit(f"/orders?query={order['number']}")
    await desk.shows(order["number"])
    await desk.page.goto(f"{desk.url}/orders?query=nobody@orderly.example")
    await desk.shows("There is no user with this e-mail address")
    desk.problems.clear()  # Chromium reports the 404


async def _read_its_trace_and_its_logs(desk: ConsolePages, order: dict[str, str]) -> str:
    """Follow one trace from the gateway to the mail, find a log line by the order's id, and return the trace's id."""
    await desk.visit(f"/orders/{order['id']}")
    for span in ("POST /v1/orders", "publish order.created", "apply order.created", "apply order.confirmed", "SMTP"):
        await desk.shows(span, within=".waterfall")
    await desk.follow("The trace of the request")
    await desk.shows("order_placed", within=".log")
    trace = desk.page.url.removeprefix(desk.url)
    await desk.check(trace)
    await desk.visit("/logs")
    await desk.press("Stop following")
    await desk.fill("Words, or keyword=value", f"order_id={order['id']}")
    await desk.press("Show")
    await desk.shows("order_placed", within="#lines")
    return trace.removeprefix("/traces/")


async def _open_an_export(desk: ConsolePages, trace_id: str) -> None:
    """Download the last hour, open the file, and find a trace in it."""
    await desk.visit("/exports")
    async with desk.page.expect_download() as started:
        await desk.follow("Download")
    file = await (await started.value).path()
    await desk.page.get_by_label("File").set_input_files(file)
    await desk.press("Open")
    await desk.shows("Latest traces")
    export = desk.page.url.removeprefix(desk.url)
    await desk.check(export)
    await desk.page.locator("table th a").first.click()
    await desk.page.locator(".waterfall").first.wait_for()
    await desk.check(f"{export}/traces/{trace_id}")
    await desk.shows("POST /v1/orders", within=".waterfall")
    await desk.visit("/exports")
    await desk.press("Close")
    await expect(desk.page.get_by_role("button", name="Close")).to_have_count(0)


async def _start_a_load_and_a_wrong_build(desk: ConsolePages) -> None:
    """Start both, see that only the wrong build loses orders, and stop them."""
    await desk.visit("/break-it")
    await desk.press("Start a load")
    await desk.shows("orders placed", within="#load", seconds=60)
    await desk.press("Stop the load")
    await desk.shows("The last load", within="#load", seconds=40)
    await desk.press("Publish after commit, without an outbox")
    await desk.shows("running", within="#comparison", seconds=60)
    lost = "#comparison tr:has(th:text-is('{build}')) td:nth-child(5) .{state}"
    await desk.page.locator(lost.format(build="wrong", state="error")).wait_for(timeout=120_000)
    await expect(desk.page.locator(lost.format(build="right", state="good"))).to_have_text("0")
    await desk.press("Stop the wrong build")
    await desk.shows("stopped", within="#comparison", seconds=40)


async def _handle_a_dead_letter(desk: ConsolePages) -> None:
    """Send a record that cannot be applied, look at it, try to replay it, and discard it with a reason."""
    await desk.visit("/break-it")
    await desk.press("Send poison")
    await desk.shows("Sent", within="#reports")
    await desk.visit("/dead-letters?reason=invalid")
    await desk.shows("invalid", within="#dead-letters table")
    await desk.page.locator("#dead-letters table a").first.click()
    await desk.shows("Headers")
    await desk.press("Replay…")
    await desk.shows("would be replayed")
    await desk.press("Replay 1")
    await desk.shows("Failed again")
    await _discard_poison(desk)
    await desk.check("/dead-letters/actions")
    await desk.shows("sent by a test")


async def _discard_poison(desk: ConsolePages) -> None:
    """Discard what both consumers of the topic could not apply."""
    for service in ("users", "notifications"):
        await desk.visit(f"/dead-letters?reason=invalid&service={service}")
        await desk.press("Discard what the filter selects…")
        await desk.fill("Reason, for the record", "sent by a test")
        await desk.page.locator("main button.danger").first.click()
        await desk.shows("were discarded")


async def _send_events_again(desk: ConsolePages) -> None:
    """Count and resend the events of a topic, and republish the users."""
    await desk.check("/dead-letters/sending")
    await desk.page.get_by_label("Topic").select_option("orders")
    await desk.fill("Sent at or after (UTC)", "2026-01-01T00:00")
    await desk.press("Count them")
    await desk.shows("events would be resent")
    await desk.press("Resend")
    await desk.shows("done")
    await desk.visit("/dead-letters/sending")
    await desk.press("Republish")
    await desk.shows("done", seconds=30)


async def _stop_and_start_a_process(desk: ConsolePages) -> None:
    """Stop the mail catcher, start it again, restart it, and be refused to stop what others need."""
    row = "#processes tr:has(th:text-is('mail'))"
    await desk.visit("/")
    await desk.press("stop mail")
    await desk.shows("stopped", within=row)
    await desk.press("start mail")
    await desk.shows("ready", within=row)
    await desk.press("restart mail")
    await desk.shows("ready", within=row)
    await desk.press("stop kafka")
    await desk.shows("The request failed")
    desk.problems.clear()  # Chromium reports the 409


async def _break_everything(desk: ConsolePages, run: LocalRun) -> None:
    """Press the button of every fault, and wait until its effects are over."""
    await desk.visit("/break-it")
    forms = await desk.page.locator("form:has(button.danger)").evaluate_all("forms => forms.map(form => form.id)")
    for form, service in zip(forms, cycle(SERVICES), strict=False):
        await until(partial(_is_broken, desk, form, service), what=form, poll_seconds=1)

    async def is_over() -> bool:
        status = await run.control.status()
        return all(report.ended_at for report in status.faults if report.fault != "send_poison")

    await until(is_over, seconds=120, what="the effects of all faults are over", poll_seconds=0.5)


async def _is_broken(desk: ConsolePages, form: str, service: str) -> bool:
    """Press a fault's button. It is refused while what it breaks is still away because of another one."""
    await desk.visit("/break-it")
    choice = desk.page.locator(f"#{form} select[name=service]")
    if await choice.count():
        await choice.select_option(service)
    async with desk.page.expect_navigation(timeout=60_000):  # cutting a connection restarts a service
        await desk.press(await desk.page.locator(f"#{form} button").inner_text(), within=f"#{form}")
    is_accepted = desk.page.url.endswith("/break-it#reports")
    if not is_accepted:
        await desk.shows("The request failed")
        desk.problems.clear()  # Chromium reports the 409
    return is_accepted
