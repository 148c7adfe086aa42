"""Three services as tutorials write them: one transaction for each message, and publishing after the commit.

There is no outbox and no inbox: a crash between commit and publishing loses an event, and a repeated message is
applied twice. `uvicorn --factory tests.bench.peers.tutorial:orders`, `:users` and `:notifications`.
"""

import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import FastAPI, Header, Response
from faststream.kafka import KafkaBroker
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from tests.bench.peers.mails import send_confirmation
from tests.bench.peers.models import (
    NewOrder,
    add_notification,
    confirm_order,
    mark_sent,
    place_order,
    reserve_credit,
)

TOPICS = ("tutorial.created", "tutorial.credit", "tutorial.confirmed")
_CREATED, _CREDIT, _CONFIRMED = TOPICS


class OrderEvent(BaseModel):
    """Body of all events."""

    order_id: uuid.UUID
    user_id: uuid.UUID
    total_cents: int


def orders() -> FastAPI:
    """Return the orders service: places orders, and confirms them once their credit is reserved."""
    broker, sessions = _broker(), _sessions()
    app = _app(broker)

    @app.post("/v1/orders", status_code=201)
    async def place(body: NewOrder, authorization: Annotated[str, Header()], response: Response) -> dict[str, str]:
        order_id, user_id = uuid.uuid4(), uuid.UUID(authorization.removeprefix("Bearer "))
        async with sessions.begin() as session:
            order = await place_order(session, order_id=order_id, user_id=user_id, body=body)
        event = OrderEvent(order_id=order_id, user_id=user_id, total_cents=order.total_cents)
        await broker.publish(event, _CREATED, key=order_id.bytes)
        response.headers["Location"] = f"/v1/orders/{order_id}"
        return {"id": str(order_id), "status": order.status}

    @broker.subscriber(_CREDIT, group_id="orders", auto_offset_reset="earliest")
    async def confirm(event: OrderEvent) -> None:
        async with sessions.begin() as session:
            await confirm_order(session, order_id=event.order_id)
        await broker.publish(event, _CONFIRMED, key=event.order_id.bytes)

    return app


def users() -> FastAPI:
    """Return the users service: reserves the credit."""
    broker, sessions = _broker(), _sessions()

    @broker.subscriber(_CREATED, group_id="users", auto_offset_reset="earliest")
    async def reserve(event: OrderEvent) -> None:
        async with sessions.begin() as session:
            await reserve_credit(
                session, order_id=event.order_id, user_id=event.user_id, amount_cents=event.total_cents
            )
        await broker.publish(event, _CREDIT, key=event.order_id.bytes)

    return _app(broker)


def notifications() -> FastAPI:
    """Return the notifications service: records the notification and sends the mail."""
    broker, sessions = _broker(), _sessions()

    @broker.subscriber(_CONFIRMED, group_id="notifications", auto_offset_reset="earliest")
    async def notify(event: OrderEvent) -> None:
        async with sessions.begin() as session:
            delivery_id = await add_notification(session, order_id=event.order_id, user_id=event.user_id)
        await send_confirmation(user_id=event.user_id, order_id=event.order_id)
        async with sessions.begin() as session:
            await mark_sent(session, delivery_id=delivery_id)

    return _app(broker)


def _broker() -> KafkaBroker:
    return KafkaBroker(os.environ["KAFKA_BOOTSTRAP_SERVERS"])


def _sessions() -> async_sessionmaker[AsyncSession]:
    return async_sessionmaker(create_async_engine(os.environ["DATABASE_URL"]), expire_on_commit=False)


def _app(broker: KafkaBroker) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with broker:
            await broker.start()
            yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/health")
    async def health() -> None:
        """Answer once the consumers have started."""

    return app
