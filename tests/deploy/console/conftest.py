"""Fixtures of the tests of the console."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.deploy.console.running_console import Console, running_console


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[Console]:
    """A console in this process, with an admin signed in and services that do not answer."""
    async with running_console(tmp_path) as running:
        yield running
