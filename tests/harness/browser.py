"""A headless Chromium for tests: Debian's, driven by Playwright, which downloads none of its own."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, async_playwright

PROGRAMS = ("chromium", "google-chrome")
"""Debian's name, and that of the machines of GitHub's workflows."""
TIMEOUT_MILLISECONDS = 15_000
"""Upper bound of each action in a page, and of each wait for an element."""


@asynccontextmanager
async def running_browser() -> AsyncIterator[Browser]:
    """Run Chromium; stop it at the end of the block. Skips the test on a machine without it; `.ci/run` installs it."""
    async with async_playwright() as playwright:
        # As root, Chromium's sandbox does not start. Containers often have a /dev/shm of 64 MB, too small for pages.
        options = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        browser = await playwright.chromium.launch(executable_path=_chromium(), headless=True, args=options)
        try:
            yield browser
        finally:
            await browser.close()


def _chromium() -> str:
    path = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if path is None:
        assert "CI" not in os.environ, "CI needs Chromium: apt-get install chromium"
        pytest.skip("Chromium is not installed: apt-get install chromium")
    return path
