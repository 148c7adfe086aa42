"""Blocked keys as operators see them: how many events queue behind which dead letter, and what helps."""

from datetime import datetime

from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncSession

from shared.http.bodies import ResponseBody
from shared.messaging.dead_letters.queries import DeadLetterFilter, blocked_keys
from shared.messaging.dead_letters.reason import DeadLetterReason
from shared.operations.advice import DEAD_LETTERS, Advice
from shared.operations.schemas import DeadLetterView


class BlockedKeyView(ResponseBody):
    """A key of a consumer that a dead letter blocks."""

    consumer: str = Field(examples=["orders.users"])
    topic: str = Field(examples=["users"])
    key: str = Field(examples=["0199a6e2-7c1e-7b7c-8a55-0d6b8f4f2c11"])
    dead_letters: int = Field(description="Number of events that wait, the first among them.", examples=[3])
    oldest_at: datetime = Field(description="The time since when the key is blocked.")
    first: DeadLetterView = Field(description="The dead letter that blocks the key.")
    advice: Advice


class BlockedKeysView(ResponseBody):
    """The blocked keys of a service."""

    items: list[BlockedKeyView]
    is_cut: bool = Field(description="Whether there are more than these.")


async def list_blocked_keys(
    session: AsyncSession, *, service: str, consumer: str | None, limit: int
) -> BlockedKeysView:
    """Return the blocked keys, the longest blocked first, at most `limit`."""
    found = await blocked_keys(session, wanted=DeadLetterFilter(consumer=consumer), limit=limit + 1)
    items = [
        BlockedKeyView(
            **each.consumer_key._asdict(),
            dead_letters=each.count,
            oldest_at=each.first.dead_lettered_at,
            first=DeadLetterView.model_validate(each.first),
            advice=advice_on_reason(service, each.first.id, DeadLetterReason(each.first.reason)),
        )
        for each in found[:limit]
    ]
    return BlockedKeysView(items=items, is_cut=len(found) > limit)


def advice_on_reason(service: str, dead_letter_id: int, reason: DeadLetterReason) -> Advice:
    """Return what helps against the dead letter with this id and reason."""
    if reason is DeadLetterReason.RETRYING:
        text = (
            "Wait: it is retried by itself for about five minutes. If it still fails, correct the cause of its error."
        )
    elif reason is DeadLetterReason.RULE_VIOLATED:
        text = "Correct the data that the rule refuses and replay it, or discard it if it must not be applied."
    elif reason is DeadLetterReason.OUT_OF_ORDER:
        text = "Decide whether it still matters: replay it by its id, or discard it."
    else:
        text = "Correct the cause of its error and replay it, or discard it if it must not be applied."
    return Advice(
        text=text,
        command=f"python -m services.{service} dead-letters replay --id {dead_letter_id}",
        route=f"POST /v1/operations/{service}/dead-letters/replays",
        runbook=DEAD_LETTERS,
    )
