"""Gathers what the oracle judges: from the two databases, from the topic, and from the writers' own notes."""

import asyncio
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import asyncpg
from aiokafka.errors import KafkaError

from shared.database import dsn_of
from shared.messaging.envelope import read_records
from tests.chaos.accounts import READER, READER_TABLES, SENDER_TABLES, TOPIC
from tests.chaos.consumer_groups import lag_of, read_topic
from tests.chaos.oracle import Evidence, Occurrence

POLL_SECONDS = 0.25
LATE_SECONDS = 120.0
"""So much longer is waited for what is not at rest in time: nothing else tells the late from the lost."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Where everything happened."""

    sender_url: str
    reader_url: str
    kafka: str
    topic_prefix: str
    folder: Path

    @property
    def topic(self) -> str:
        return self.topic_prefix + TOPIC

    @property
    def group(self) -> str:
        return self.topic_prefix + READER

    async def prepare(self) -> None:
        """Make the workload's own tables."""
        for url, statements in ((self.sender_url, SENDER_TABLES), (self.reader_url, READER_TABLES)):
            connection = await asyncpg.connect(dsn_of(url))
            for statement in statements:
                await connection.execute(statement)
            await connection.close()

    async def settled(self, *, within_seconds: float) -> tuple[int, int]:
        """Wait until the outbox is empty and the reader has no lag; returns what is left of both at the deadline."""
        deadline = time.monotonic() + within_seconds
        while True:
            left = await self._left()
            if left == (0, 0) or time.monotonic() > deadline:
                return left
            await asyncio.sleep(POLL_SECONDS)

    async def sent(self, *, all_but: int, within_seconds: float) -> None:
        """Wait until no more than these are left in the outbox. Raises: TimeoutError."""
        sender = await asyncpg.connect(dsn_of(self.sender_url))
        try:
            async with asyncio.timeout(within_seconds):
                while await sender.fetchval("SELECT count(*) FROM outbox") > all_but:  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(POLL_SECONDS)
        finally:
            await sender.close()

    async def _left(self) -> tuple[int, int]:
        """Servers that are only coming back count as something left."""
        try:
            sender = await asyncpg.connect(dsn_of(self.sender_url), timeout=5)
            unsent: int = await sender.fetchval("SELECT count(*) FROM outbox")
            await sender.close()
            lag = await lag_of(self.kafka, group=self.group, topic=self.topic)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, KafkaError, OSError):
            return -1, -1
        return unsent, lag.records

    async def evidence(self, *, within_seconds: float = 60) -> Evidence:
        """Wait for quiet, then gather all there is, with what was left when the time was over."""
        unsent, lag = await self.settled(within_seconds=within_seconds)
        if unsent or lag:
            await self.settled(within_seconds=LATE_SECONDS)
        sender = await asyncpg.connect(dsn_of(self.sender_url))
        reader = await asyncpg.connect(dsn_of(self.reader_url))
        committed: dict[str, list[UUID]] = defaultdict(list)
        ledger = await sender.fetch("SELECT operation, account::text, event_id FROM ledger ORDER BY id")
        for row in ledger:
            committed[row["account"]].append(row["event_id"])
        accounts = await sender.fetch("SELECT id::text, reserved_cents FROM account")
        effects = await reader.fetch("SELECT key, sequence, event_id FROM effect ORDER BY id")
        dead_letters = await reader.fetch(
            "SELECT key, sequence, event_id, reason FROM dead_letter WHERE consumer = $1 ORDER BY id", READER
        )
        extremes = await reader.fetchrow("SELECT min(cents_after), max(cents_after) FROM effect")
        balances = await reader.fetch("SELECT account, cents FROM balance")
        await sender.close()
        await reader.close()
        return Evidence(
            committed=committed,
            acknowledged=frozenset(self._acknowledged()),
            operations=frozenset(row["operation"] for row in ledger),
            records=await self._records(),
            effects=[Occurrence(*row) for row in effects],
            dead_letters=[Occurrence(*row) for row in dead_letters],
            reserved_cents=dict(tuple(row) for row in accounts),
            balances_cents=dict(tuple(row) for row in balances),
            extremes_cents=(extremes[0] or 0, extremes[1] or 0) if extremes else (0, 0),
            unsent=unsent,
            lag=lag,
        )

    async def _records(self) -> list[Occurrence]:
        return [
            Occurrence(
                key=received.key,
                sequence=received.context.sequence if received.context else None,
                event_id=received.context.event_id if received.context else None,
            )
            for received in read_records(await read_topic(self.kafka, self.topic))
        ]

    def _acknowledged(self) -> list[UUID]:
        notes = self.folder / "acknowledged"
        return [UUID(line) for line in notes.read_text().splitlines()] if notes.exists() else []
