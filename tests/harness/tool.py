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

from tests.harness.forked_commands import run_forked

IGNORING_INTERRUPTS = ("sh", "-c", 'trap "" INT; exec "$@"', "sh")
"""Prefix that starts a command as a shell without job control starts it in the background: ignoring SIGINT."""


@dataclass(frozen=True)
class Tool:
    """Runs the tool of one service on a database, without Kafka."""

    service: str
    database_url: str

    async def __call__(self, *arguments: str, url: str | None = None) -> tuple[int, str, str]:
        """Run a command in a forked process, and return its exit status, stdout and stderr."""
        return await run_forked(f"services.{self.service}", *arguments, environment=self._environment(url))

    @asynccontextmanager
    async def running(
        self, *arguments: str, url: str | None = None, prefix: tuple[str, ...] = ()
    ) -> AsyncIterator[Process]:
        """Start Python with a command, after the words of `prefix`; yield its process, and kill it if it still runs."""
        process = await asyncio.create_subprocess_exec(
            *(*prefix, sys.executable, "-m", f"services.{self.service}", *arguments),
            stdout=PIPE,
            stderr=PIPE,
            env=os.environ | self._environment(url),
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            # Also reads the pipes to their end, which closes them.
            await process.communicate()

    def _environment(self, url: str | None) -> dict[str, str]:
        variables = self.service.upper()
        return {
            f"{variables}_DATABASE_URL": url or self.database_url,
            f"{variables}_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9",
        }

    async def json(self, *arguments: str) -> tuple[int, Any]:
        """Run a command with `--json`, and return its exit status and its document."""
        status, out, _ = await self(*arguments, "--json")
        return status, json.loads(out)
