"""A mail catcher for each worker, and its messages."""

import asyncio
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from deploy.local.mail_program import mail_program
from deploy.local.ports import free_port
from deploy.local.process import Program

START_TIMEOUT_SECONDS = 20


@dataclass(frozen=True, kw_only=True)
class MailCatcher:
    """A running mail catcher, and the URLs at which it accepts and shows mail."""

    smtp_url: str
    api_url: str
    pid: int

    async def messages(self, **wanted: str) -> list[dict[str, Any]]:
        """Return whole messages, newest first, with `text`, `html` and `headers`; `to` and `subject` match parts."""
        async with httpx2.AsyncClient(base_url=self.api_url) as client:
            found = (await client.get("/api/messages", params={"limit": "1000", **wanted})).json()["messages"]
            return [(await client.get(f"/api/messages/{mail['id']}")).json() for mail in found]

    async def wait_for(self, *, count: int = 1, timeout_seconds: float = 10, **wanted: str) -> list[dict[str, Any]]:
        """Wait until there are `count` messages, and return them. Raises: TimeoutError."""
        async with asyncio.timeout(timeout_seconds):
            while True:
                found = await self.messages(**wanted)
                if len(found) >= count:
                    return found
                await asyncio.sleep(0.05)


@contextmanager
def running_mail_catcher(folder: Path) -> Iterator[MailCatcher]:
    """Run a catcher on free ports that keeps its mails in `folder`; stop it at the end of the block."""
    smtp_port, page_port = free_port(), free_port()
    program = mail_program(folder=folder, smtp_port=smtp_port, page_port=page_port)
    with subprocess.Popen(program.command, stdin=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + START_TIMEOUT_SECONDS
            while not asyncio.run(_is_ready(program)):
                assert process.poll() is None, "the mail catcher ended at its start"
                assert time.monotonic() < deadline, "the mail catcher did not start"
                time.sleep(0.05)
            yield MailCatcher(smtp_url=f"smtp://127.0.0.1:{smtp_port}", api_url=program.address, pid=process.pid)
        finally:
            process.terminate()


async def _is_ready(program: Program) -> bool:
    return await program.ready()
