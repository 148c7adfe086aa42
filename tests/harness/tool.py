"""The operators' tool of a service, run as a process on a test's database."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

IGNORING_INTERRUPTS = ("sh", "-c", 'trap "" INT; exec "$@"', "sh")
"""Prefix that starts a command as a shell without job control starts it in the background: ignoring SIGINT."""


@dataclass(frozen=True)
class Tool:
    """Runs the tool of one service on a database, without Kafka."""

    service: str
    database_url: str

    async def __call__(self, *arguments: str, url: str | None = None) -> tuple[int, str, str]:
        """Run a command, and return its exit status, stdout and stderr."""
        async with self.running(*arguments, url=url) as process:
            out, err = await process.communicate()
        return process.returncode or 0, out.decode(), err.decode()

    @asynccontextmanager
    async def running(
        self, *arguments: str, url: str | None = None, prefix: tuple[str, ...] = ()
    ) -> AsyncIterator[Process]:
        """Start a command, after the words of `prefix`; yield its process, and kill it if it still runs."""
        variables = self.service.upper()
        process = await asyncio.create_subprocess_exec(
            *(*prefix, sys.executable, "-m", f"services.{self.service}", *arguments),
            stdout=PIPE,
            stderr=PIPE,
            env=os.environ
            | {
                f"{variables}_DATABASE_URL": url or self.database_url,
                f"{variables}_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9",
            },
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            # Also reads the pipes to their end, which closes them.
            await process.communicate()

    async def json(self, *arguments: str) -> tuple[int, Any]:
        """Run a command with `--json`, and return its exit status and its document."""
        status, out, _ = await self(*arguments, "--json")
        return status, json.loads(out)
