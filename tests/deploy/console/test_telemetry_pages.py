"""The pages of logs and traces in a real browser: following, pausing, and opening a span by keyboard."""

from typing import TYPE_CHECKING

from tests.deploy.console.otlp import log_record, logs_of, span, spans_of, trace_id
from tests.deploy.console.running_console import Console
from tests.harness.asgi import served

if TYPE_CHECKING:
    from playwright.async_api import Page


async def test_new_log_lines_appear_until_they_are_paused_and_a_span_opens_by_keyboard(
    console: Console, page: "Page"
) -> None:
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    await console.export("logs", logs_of("orders", *(log_record(f"event_{number}") for number in range(100))))
    await console.export("traces", spans_of("orders", span("place order", trace="order", order_id="order-7")))
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    await page.clock.install()
    async with served(console.app) as url:
        await page.goto(f"{url}/logs?process=orders")
        lines = page.locator("#lines")
        await console.export("logs", logs_of("orders", log_record("arrived", trace="order")))
        await page.clock.run_for(2_000)
        await lines.get_by_text("arrived").wait_for()
        is_at_end = "log => log.scrollHeight - log.scrollTop - log.clientHeight < 40"
        assert await lines.evaluate(is_at_end)
        assert await lines.locator("li").count() == 101

        button = page.locator("button[aria-pressed]")
        await button.click()
        await console.export("logs", logs_of("orders", log_record("unseen")))
        before = len(requests)
        await page.clock.run_for(10_000)
        assert await lines.get_by_text("unseen").count() == 0
        assert len(requests) == before
        await button.click()
        await page.clock.run_for(2_000)
        await lines.get_by_text("unseen").wait_for()

        await lines.get_by_role("link", name="trace").click()
        assert page.url == f"{url}/traces/{trace_id('order').hex()}"
        attribute = page.get_by_text("order-7")
        assert not await attribute.is_visible()
        await page.locator("summary").focus()
        await page.keyboard.press("Enter")
        await attribute.wait_for()
    assert errors == []
