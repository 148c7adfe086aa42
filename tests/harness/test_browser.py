"""The browser for tests."""

from playwright.async_api import Page


async def test_a_page_runs_scripts(page: Page) -> None:
    await page.set_content("<h1></h1><script>document.querySelector('h1').textContent = 6 * 7</script>")
    assert await page.text_content("h1") == "42"
