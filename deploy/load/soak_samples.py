"""Samples of everything that must not grow without bound, from all processes of the local system."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import psutil
from redis.asyncio import Redis

from deploy.local.memory import memory_of_system

FOLDERS = ("postgres", "archive", "kafka", "valkey", "logs", "mails")
"""The parts of the system's folder whose size is sampled."""

# A daily partition counts as its table. The counters of pg_stat cost no scan.
_TABLES = """
    SELECT coalesce(parent.relname, own.relname) AS name, sum(pg_total_relation_size(own.oid))::float8 AS bytes,
           sum(stat.n_live_tup)::float8 AS rows
    FROM pg_stat_user_tables AS stat
    JOIN pg_class AS own ON own.oid = stat.relid
    LEFT JOIN pg_inherits AS inherits ON inherits.inhrelid = own.oid
    LEFT JOIN pg_class AS parent ON parent.oid = inherits.inhparent
    GROUP BY 1
"""
# The role of the audit sees all connections in this view, and its own only in pg_stat_activity.
_CONNECTIONS = "SELECT numbackends FROM pg_stat_database WHERE datname = current_database()"


@dataclass(frozen=True)
class Sample:
    """The values that were measured at one time. Their names are `kind/subject`, such as `memory/orders`."""

    at: float
    """Seconds since the beginning."""
    orders: int
    """Orders placed since the beginning."""
    pids: Mapping[str, int]
    values: Mapping[str, float]


@dataclass
class Sampler:
    """Reads processes, databases, Valkey and files of the system of `make run`."""

    folder: Path
    state: Mapping[str, Any]
    databases: dict[str, "asyncpg.Connection[asyncpg.Record]"] = field(default_factory=dict)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator["Sampler"]:
        """Hold connections meanwhile, the same number in every sample."""
        async with AsyncExitStack() as stack:
            for service, url in self.state["audit_databases"].items():
                connection = await asyncpg.connect(url)
                stack.push_async_callback(connection.close)
                self.databases[service] = connection
            self._valkey = Redis.from_url(self.state["urls"]["valkey"])
            stack.push_async_callback(self._valkey.aclose)
            yield self

    async def sample(self, *, at: float, orders: int, processes: Mapping[str, Any]) -> Sample:
        """Measure once. `processes`: those of the state file now, since one may have been restarted."""
        pids = {name: process["pid"] for name, process in processes.items()} | {"supervisor": self.state["pid"]}
        state = {"processes": processes, "pid": self.state["pid"]}
        values = await asyncio.to_thread(lambda: _memory(state) | _processes(pids) | self._disk())
        for service, connection in self.databases.items():
            values |= await _database(service, connection)
        memory, keys = await self._valkey.info("memory"), await self._valkey.dbsize()
        values |= {"valkey/memory": float(memory["used_memory"]), "valkey/keys": float(keys)}
        return Sample(at, orders, pids, values)

    def _disk(self) -> dict[str, float]:
        return {
            f"disk/{name}": float(_size_of(self.folder / name)) for name in FOLDERS if (self.folder / name).exists()
        }


def _memory(state: dict[str, Any]) -> dict[str, float]:
    """Return the proportional set size of each process with its descendants."""
    return {f"memory/{name}": float(size) for name, size in memory_of_system(state).items()}


def _processes(pids: Mapping[str, int]) -> dict[str, float]:
    """Measure each process with its descendants; the supervisor without them."""
    values: dict[str, float] = {}
    for name, pid in pids.items():
        try:
            process = psutil.Process(pid)
            tree = [process] if name == "supervisor" else [process, *process.children(recursive=True)]
        except psutil.Error:
            continue
        values[f"processes/{name}"] = float(len(tree))
        values[f"threads/{name}"] = float(sum(_of(member.num_threads) for member in tree))
        values[f"files/{name}"] = float(sum(_of(member.num_fds) for member in tree))
        values[f"sockets/{name}"] = float(sum(len(_listed(member)) for member in tree))
    return values


def _of(read: Any) -> int:
    """Return what a process tells, or 0 if it has ended meanwhile."""
    try:
        return int(read())
    except psutil.Error:
        return 0


def _listed(process: psutil.Process) -> list[Any]:
    try:
        return process.net_connections("inet")
    except psutil.Error:
        return []


async def _database(service: str, connection: "asyncpg.Connection[asyncpg.Record]") -> dict[str, float]:
    values = {f"connections/{service}": float(await connection.fetchval(_CONNECTIONS))}
    for row in await connection.fetch(_TABLES):
        values[f"rows/{service}.{row['name']}"] = row["rows"]
        values[f"bytes/{service}.{row['name']}"] = row["bytes"]
    return values


def _size_of(folder: Path) -> int:
    """Return the space that a folder's files take. Files that vanish meanwhile count as nothing."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(Path(parent, name)).st_blocks * 512
            except FileNotFoundError:
                continue
    return total
