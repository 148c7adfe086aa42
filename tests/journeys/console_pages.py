"""The console's pages in Chromium: what a test presses and reads, and the checks that every page must pass."""

from dataclasses import dataclass, field
from typing import Literal

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, ConsoleMessage, Page, ViewportSize, expect

from tests.harness.browser import TIMEOUT_MILLISECONDS

MAX_PAGE_BYTES = 100_000
"""Upper bound of what the first paint of a page needs: the page, its styles and its script."""
_LOADED_BYTES = """
    ["navigation", "resource"].flatMap((type) => performance.getEntriesByType(type))
        .reduce((sum, entry) => sum + entry.encodedBodySize, 0)
"""
PHONE: ViewportSize = {"width": 390, "height": 844}
DESK: ViewportSize = {"width": 1280, "height": 900}


@dataclass
class ConsolePages:
    """One browser tab at a console. `problems` collects errors of scripts and of the content security policy."""

    url: str
    page: Page
    problems: list[str] = field(default_factory=list)

    @classmethod
    async def open(cls, browser: Browser, url: str, *, dark: bool = False, phone: bool = False) -> "ConsolePages":
        """Open a tab, light or dark, of a desk or a phone."""
        scheme: Literal["light", "dark"] = "dark" if dark else "light"
        context = await browser.new_context(viewport=PHONE if phone else DESK, color_scheme=scheme)
        context.set_default_timeout(TIMEOUT_MILLISECONDS)
        opened = cls(url, await context.new_page())
        opened.page.on("console", opened._note_message)
        opened.page.on("pageerror", lambda error: opened.problems.append(str(error)))
        return opened

    def _note_message(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.problems.append(message.text)

    async def visit(self, path: str) -> None:
        """Go to a page."""
        response = await self.page.goto(f"{self.url}{path}")
        assert response is not None
        assert response.status == 200, (path, response.status)

    async def check(self, path: str) -> None:
        """Go to a page, and check its size, its accessibility, and that it fits a phone's width."""
        await self.visit(path)
        size = await self.page.evaluate(_LOADED_BYTES)
        assert 0 < size < MAX_PAGE_BYTES, (path, size)
        found = (await Axe().run(self.page)).response["violations"]
        violations = [(path, each["id"], [node["html"] for node in each["nodes"]]) for each in found]
        assert violations == []
        overflow = await self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert overflow <= 0, (path, overflow)
        assert self.problems == [], path

    async def press(self, name: str, *, within: str = "main") -> None:
        """Press the first button of this name, by the keyboard."""
        button = self.page.locator(within).get_by_role("button", name=name, exact=True).first
        await button.focus()
        await self.page.keyboard.press("Enter")

    async def follow(self, name: str, *, within: str = "main") -> None:
        """Follow the first link of this name."""
        await self.page.locator(within).get_by_role("link", name=name, exact=True).first.click()

    async def fill(self, label: str, text: str, *, within: str = "main") -> None:
        """Fill the first field with this label."""
        await self.page.locator(within).get_by_label(label, exact=True).first.fill(text)

    async def shows(self, text: str, *, within: str = "main", seconds: float = 20) -> None:
        """Wait until the page shows a text, as it refreshes itself."""
        await expect(self.page.locator(within).first).to_contain_text(text, timeout=seconds * 1000)
