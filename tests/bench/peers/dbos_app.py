"""The order flow as one DBOS workflow in one process: each step is a transaction, and DBOS records that it is done.

`uvicorn --factory tests.bench.peers.dbos_app:app`
"""

import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Final

from dbos import DBOS, AsyncSQLAlchemyDatasource
from fastapi import FastAPI, Header, Response

from tests.bench.peers import models
from tests.bench.peers.mails import send_confirmation

ISOLATION: Final = "READ COMMITTED"


def app() -> FastAPI:
    """Return the service. A request is answered once its workflow has ended.

    Workflows in the background have no limit of their own: under load, all of them wait for a connection until they
    fail. A queue would limit them, but polls.
    """

    @asynccontextmanager
    async def lifespan(service: FastAPI) -> AsyncIterator[None]:
        DBOS(config={"name": "orders", "system_database_url": os.environ["SYSTEM_DATABASE_URL"]})
        source = await AsyncSQLAlchemyDatasource.create(os.environ["DATABASE_URL"])
        _install(service, source)
        DBOS.launch()
        yield
        DBOS.destroy()

    service = FastAPI(lifespan=lifespan)

    @service.get("/health")
    async def health() -> None:
        """Answer once DBOS has started."""

    return service


def _install(service: FastAPI, source: AsyncSQLAlchemyDatasource) -> None:
    """Register the workflow and the route."""
    order = _workflow(source)

    @service.post("/v1/orders", status_code=201)
    async def place_order(
        body: models.NewOrder, authorization: Annotated[str, Header()], response: Response
    ) -> dict[str, str]:
        order_id = str(uuid.uuid4())
        await order(order_id, authorization.removeprefix("Bearer "), body.model_dump())
        response.headers["Location"] = f"/v1/orders/{order_id}"
        return {"id": order_id, "status": "confirmed"}


def _workflow(source: AsyncSQLAlchemyDatasource) -> Callable[[str, str, dict[str, object]], Awaitable[None]]:
    """Register the steps and the workflow of an order, and return the workflow."""
    session = source.sql_session

    @source.transaction(isolation_level=ISOLATION)
    async def place(order_id: str, user_id: str, body: dict[str, object]) -> int:
        order = await models.place_order(
            session(),
            order_id=uuid.UUID(order_id),
            user_id=uuid.UUID(user_id),
            body=models.NewOrder.model_validate(body),
        )
        return order.total_cents

    @source.transaction(isolation_level=ISOLATION)
    async def reserve(order_id: str, user_id: str, amount_cents: int) -> None:
        await models.reserve_credit(
            session(), order_id=uuid.UUID(order_id), user_id=uuid.UUID(user_id), amount_cents=amount_cents
        )

    @source.transaction(isolation_level=ISOLATION)
    async def confirm(order_id: str) -> None:
        await models.confirm_order(session(), order_id=uuid.UUID(order_id))

    @source.transaction(isolation_level=ISOLATION)
    async def notify(order_id: str, user_id: str) -> str:
        return str(await models.add_notification(session(), order_id=uuid.UUID(order_id), user_id=uuid.UUID(user_id)))

    @DBOS.step()
    async def send(order_id: str, user_id: str) -> None:
        await send_confirmation(user_id=uuid.UUID(user_id), order_id=uuid.UUID(order_id))

    @source.transaction(isolation_level=ISOLATION)
    async def mark(delivery_id: str) -> None:
        await models.mark_sent(session(), delivery_id=uuid.UUID(delivery_id))

    @DBOS.workflow()
    async def order(order_id: str, user_id: str, body: dict[str, object]) -> None:
        total_cents = await place(order_id, user_id, body)
        await reserve(order_id, user_id, total_cents)
        await confirm(order_id)
        delivery_id = await notify(order_id, user_id)
        await send(order_id, user_id)
        await mark(delivery_id)

    return order
