"""Schemathesis as a process, against one service."""

import asyncio
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx2

from deploy.local.state import CHECKOUT

CONFIGURATION = Path(__file__).parent / "schemathesis.toml"
ALL_PHASES = ("examples", "coverage", "fuzzing", "stateful")
# Operators' routes, which no gateway leads to: their responses depend on the whole system.
NOT_TESTED = "^/health"
_GENERATED = re.compile(r"([\d,]+) generated")


@dataclass(frozen=True)
class Outcome:
    """The result of a run: whether no check failed, how many test cases there were, and what was printed."""

    passed: bool
    cases: int
    output: str


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run against the service at `url`, as the caller of `token`."""

    url: str
    token: str
    cases: int
    """Number of test cases: of each operation an equal share, and those of the other phases in addition."""
    seed: int
    phases: Sequence[str] = ALL_PHASES
    skus: Sequence[str] = ()
    """Products that orders can be of."""
    password: str = ""
    """The caller's password, which stays as it is. Without one, the run may change it."""

    async def run(self) -> Outcome:
        """Run it, and return the outcome."""
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIGURATION)),
            *("run", f"{self.url}/openapi.json", "--exclude-path-regex", NOT_TESTED),
            *("--phases", ",".join(self.phases), "--seed", str(self.seed)),
            *("--max-examples", str(max(1, round(self.cases / await self._operations())))),
        ]
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=CHECKOUT,
            env={
                # Schemathesis runs none of our code, and is slower if its coverage is measured.
                **{name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_PROCESS")},
                "ORDERLY_FUZZ_TOKEN": self.token,
                "ORDERLY_FUZZ_SKUS": ",".join(self.skus),
                "ORDERLY_FUZZ_PASSWORD": self.password,
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output = (await process.communicate())[0].decode()
        generated = _GENERATED.search(output)
        cases = int(generated[1].replace(",", "")) if generated else 0
        return Outcome(process.returncode == 0 and cases > 0, cases, output)

    async def _operations(self) -> int:
        async with httpx2.AsyncClient() as client:
            document = (await client.get(f"{self.url}/openapi.json")).json()
        return sum(len(methods) for path, methods in document["paths"].items() if not re.match(NOT_TESTED, path))
