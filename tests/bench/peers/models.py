"""The tables of the peers: those rows of Orderly's that an order needs, without its messaging tables."""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime

import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Base(DeclarativeBase):
    """Declarative base of the peers' tables."""


class Product(Base):
    __tablename__ = "product"

    sku: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    price_cents: Mapped[int]
    stock: Mapped[int]
    reserved: Mapped[int] = mapped_column(default=0)


class Order(Base):
    __tablename__ = "customer_order"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    user_id: Mapped[uuid.UUID]
    status: Mapped[str] = mapped_column(default="pending")
    total_cents: Mapped[int]
    items: Mapped[list["OrderItem"]] = relationship()
    timeline: Mapped[list["TimelineEntry"]] = relationship()


class OrderItem(Base):
    __tablename__ = "order_item"

    order_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("customer_order.id"), primary_key=True)
    sku: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    unit_price_cents: Mapped[int]
    quantity: Mapped[int]


class TimelineEntry(Base):
    __tablename__ = "order_timeline"

    id: Mapped[int] = mapped_column(sa.BigInteger, sa.Identity(), primary_key=True)
    order_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("customer_order.id"), index=True)
    at: Mapped[datetime] = mapped_column(sa.DateTime(timezone=True), default=lambda: datetime.now(UTC))
    status: Mapped[str]


class CreditAccount(Base):
    __tablename__ = "credit_account"

    user_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    limit_cents: Mapped[int] = mapped_column(sa.BigInteger)
    reserved_cents: Mapped[int] = mapped_column(sa.BigInteger, default=0)


class CreditReservation(Base):
    __tablename__ = "credit_reservation"

    order_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    user_id: Mapped[uuid.UUID]
    amount_cents: Mapped[int]


class Notification(Base):
    __tablename__ = "notification"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    user_id: Mapped[uuid.UUID] = mapped_column(index=True)
    order_id: Mapped[uuid.UUID]
    title: Mapped[str]
    deliveries: Mapped[list["Delivery"]] = relationship()


class Delivery(Base):
    __tablename__ = "delivery"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    notification_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("notification.id"), index=True)
    channel: Mapped[str]
    sent_at: Mapped[datetime | None] = mapped_column(sa.DateTime(timezone=True))


class Item(BaseModel):
    """One line of the request."""

    sku: str
    quantity: int


class NewOrder(BaseModel):
    """The request: that of Orderly."""

    items: list[Item]


async def place_order(session: AsyncSession, *, order_id: uuid.UUID, user_id: uuid.UUID, body: NewOrder) -> Order:
    """Reserve the stock and add a pending order. Raises: ValueError if there is too little stock."""
    skus = sorted({item.sku for item in body.items})
    found = await session.scalars(
        sa.select(Product).where(Product.sku.in_(skus)).order_by(Product.sku).with_for_update()
    )
    products: Mapping[str, Product] = {product.sku: product for product in found}
    order = Order(id=order_id, user_id=user_id, total_cents=0, timeline=[TimelineEntry(status="pending")])
    for item in body.items:
        product = products[item.sku]
        if product.stock - product.reserved < item.quantity:
            raise ValueError(item.sku)
        product.reserved += item.quantity
        order.total_cents += product.price_cents * item.quantity
        order.items.append(
            OrderItem(sku=item.sku, name=product.name, unit_price_cents=product.price_cents, quantity=item.quantity)
        )
    session.add(order)
    return order


async def reserve_credit(session: AsyncSession, *, order_id: uuid.UUID, user_id: uuid.UUID, amount_cents: int) -> None:
    """Reserve credit for an order. Raises: ValueError if the limit does not allow it."""
    account = await session.get_one(CreditAccount, user_id, with_for_update=True)
    if account.reserved_cents + amount_cents > account.limit_cents:
        raise ValueError(user_id)
    account.reserved_cents += amount_cents
    session.add(CreditReservation(order_id=order_id, user_id=user_id, amount_cents=amount_cents))


async def confirm_order(session: AsyncSession, *, order_id: uuid.UUID) -> Order:
    """Confirm an order."""
    order = await session.get_one(Order, order_id, with_for_update=True)
    order.status = "confirmed"
    session.add(TimelineEntry(order_id=order_id, status="confirmed"))
    return order


async def add_notification(session: AsyncSession, *, order_id: uuid.UUID, user_id: uuid.UUID) -> uuid.UUID:
    """Add the notification with its two deliveries; return the id of the mail's delivery."""
    mail = Delivery(id=uuid.uuid4(), channel="email")
    in_app = Delivery(channel="in_app", sent_at=datetime.now(UTC))
    session.add(
        Notification(order_id=order_id, user_id=user_id, title="Your order is confirmed", deliveries=[in_app, mail])
    )
    return mail.id


async def mark_sent(session: AsyncSession, *, delivery_id: uuid.UUID) -> None:
    """Note that a mail was sent."""
    delivery = await session.get_one(Delivery, delivery_id)
    delivery.sent_at = datetime.now(UTC)


async def create_tables(url: str, *, users: int, products: int) -> tuple[list[uuid.UUID], list[str]]:
    """Create all tables with ample credit and stock; return the ids of the users and the SKUs."""
    ids, skus = [uuid.UUID(int=number + 1) for number in range(users)], [f"SKU-{n}" for n in range(products)]
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
        await connection.execute(
            sa.insert(Product), [{"sku": sku, "name": sku, "price_cents": 500, "stock": 10**8} for sku in skus]
        )
        await connection.execute(sa.insert(CreditAccount), [{"user_id": one, "limit_cents": 10**15} for one in ids])
    await engine.dispose()
    return ids, skus
