"""Repeating erasures that a restored database has lost: their receipts come from a file, or from the topic."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal
from uuid import UUID

import structlog
from aiokafka import AIOKafkaConsumer
from pydantic import BaseModel, TypeAdapter, ValidationError

from services.users.accounts.queries import UserNotFound
from services.users.administration.commands import Act, LastAdmin
from services.users.erasure import commands
from services.users.erasure.commands import Request
from shared.database import Sessions
from shared.errors import Problem
from shared.events.topics import topic_named
from shared.events.users import ErasureEvent, UserErased, UserErasureRequested
from shared.messaging.envelope import Received, decode_records
from shared.messaging.kafka import KafkaConnection

logger = structlog.get_logger(__name__)

TIMEOUT_SECONDS = 300.0
"""Upper bound of the time to read the whole topic."""
_TOPIC = topic_named("users")
_EVENTS: dict[str, type[ErasureEvent]] = {each.type: each for each in (UserErasureRequested, UserErased)}

Outcome = Literal["requested", "known", "user_unknown", "last_admin"]


class ReceiptsInvalid(Problem):
    """The file must hold a JSON list of receipts, such as `erasures list --json` prints it."""

    status = 422
    code = "receipts_invalid"


class LostErasure(BaseModel):
    """A receipt, with what is needed to request its erasure again. Other members are ignored."""

    id: UUID
    user_id: UUID
    requested_at: datetime


@dataclass(frozen=True)
class Repeated:
    """The outcome for one receipt: `known` if the erasure is in the database."""

    erasure: LostErasure
    outcome: Outcome


def receipts_in(file: Path) -> list[LostErasure]:
    """Read receipts. Raises: ReceiptsInvalid."""
    try:
        return TypeAdapter(list[LostErasure]).validate_json(file.read_bytes())
    except ValidationError as error:
        raise ReceiptsInvalid from error


async def receipts_in_topic(kafka: KafkaConnection) -> list[LostErasure]:
    """Read the requests that the topic still holds, oldest first. Raises: KafkaError, TimeoutError."""
    name = kafka.topic_prefix + _TOPIC.name
    # Without a group, so that it changes nothing in Kafka.
    consumer = AIOKafkaConsumer(
        name, **kafka.client_options(), group_id=None, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    found: dict[UUID, LostErasure] = {}
    async with asyncio.timeout(TIMEOUT_SECONDS), consumer:
        ends = await consumer.end_offsets(consumer.assignment())
        while [each for each, end in ends.items() if await consumer.position(each) < end]:
            for records in (await consumer.getmany(timeout_ms=500)).values():
                for erasure in _requests_in(decode_records(records)):
                    found.setdefault(erasure.id, erasure)
    return sorted(found.values(), key=lambda each: each.requested_at)


async def repeat(sessions: Sessions, lost: Sequence[LostErasure], *, actor: str) -> list[Repeated]:
    """Request erasures again, with their ids, whose users are not being erased. Repeatable."""
    outcomes = []
    for erasure in lost:
        outcome = await _repeat_one(sessions, erasure, actor=actor)
        if outcome == "requested":
            logger.warning("erasure_repeated", erasure_id=str(erasure.id), user_id=str(erasure.user_id), actor=actor)
        outcomes.append(Repeated(erasure, outcome))
    return outcomes


async def _repeat_one(sessions: Sessions, erasure: LostErasure, *, actor: str) -> Outcome:
    try:
        async with sessions.begin() as session:
            _, is_new = await commands.request_erasure(
                session,
                user_id=erasure.user_id,
                reason=None,
                act=Act(actor),
                request=Request(erasure.id, erasure.requested_at),
            )
    except UserNotFound:
        return "user_unknown"
    except LastAdmin:
        return "last_admin"
    return "requested" if is_new else "known"


def _requests_in(events: Iterable[Received]) -> Iterator[LostErasure]:
    """Yield the requests among the events of the topic. Only the first event of an erasure has the request's time."""
    for event in events:
        context = event.context
        if context is not None and context.source == _TOPIC.source and context.type in _EVENTS:
            data = _EVENTS[context.type].model_validate_json(event.value)
            yield LostErasure(id=data.request_id, user_id=data.user_id, requested_at=context.time)
