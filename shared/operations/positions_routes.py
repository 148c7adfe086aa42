"""Positions over HTTP, for admins: read and reset."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from shared.http.dependencies import SessionsDep
from shared.http.idempotency import IdempotencyKey, run_idempotently
from shared.http.problems import responses
from shared.http.responses import is_repeat, json_response
from shared.http.route_limits import OPERATIONS
from shared.messaging.envelope import MAX_KEY_LENGTH
from shared.operations import positions
from shared.operations.dependencies import AdminCaller, OperationsDep
from shared.operations.position_schemas import PositionReset, PositionView
from shared.operations.positions import PositionNotFound

router = APIRouter(prefix="/positions")


@router.get("", summary="Read a position", responses=responses(PositionNotFound))
async def read_position(
    *,
    _caller: AdminCaller,
    operations: OperationsDep,
    consumer: Annotated[
        str, Query(max_length=100, pattern=r"^[^\x00]*$", description="The consumer.", examples=["orders.users"])
    ],
    key: Annotated[
        str,
        Query(
            max_length=MAX_KEY_LENGTH,
            pattern=r"^[^\x00]*$",
            description="The key.",
            examples=["0199a6e2-7c1e-7b7c-8a55-0d6b8f4f2c11"],
        ),
    ],
) -> PositionView:
    """Return how far a consumer is in a key, and the resets of it."""
    return PositionView.model_validate(await operations.positions.show(consumer=consumer, key=key))


@router.post(
    "/resets",
    response_model=PositionView,
    summary="Reset a position",
    dependencies=[Depends(OPERATIONS)],
    responses=responses(PositionNotFound),
)
async def reset_position(
    body: PositionReset,
    *,
    request: Request,
    caller: AdminCaller,
    sessions: SessionsDep,
    operations: OperationsDep,
    key: IdempotencyKey = None,
) -> Response:
    """Set the last sequence that a consumer has seen of a key, such as after a forged event has moved it too far.

    Events that the consumer has applied are not applied again. Discard or replay dead letters separately.
    """
    done: list[positions.PositionReset] = []

    async def reset(session: AsyncSession) -> Response:
        done.append(
            await operations.positions.reset_in(
                session, consumer=body.consumer, key=body.key, to=body.to, actor=str(caller.user_id), note=body.note
            )
        )
        return json_response(PositionView.model_validate(done[-1].position))

    response = await run_idempotently(
        sessions, request=request, caller_id=caller.user_id, key=key, body=body, action=reset
    )
    if not is_repeat(response):
        done[-1].log()
    return response
