"""Tables of the notifications service."""

from datetime import datetime
from typing import get_args
from uuid import UUID

import sqlalchemy as sa
from pydantic import JsonValue
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from services.notifications.statuses import Channel, DeliveryStatus
from shared.erased_users import erased_user_table
from shared.ids import new_id
from shared.metadata import TYPE_ANNOTATIONS, one_of, service_metadata
from shared.sealed_contacts import sealed_contact_table

OPEN_STATUSES: tuple[DeliveryStatus, ...] = ("queued", "sending", "retrying")
"""Statuses of a delivery that has a next attempt."""


class Base(DeclarativeBase):
    """The declarative base of this service's tables."""

    metadata = service_metadata()
    type_annotation_map = TYPE_ANNOTATIONS


sealed_contact_table(Base.metadata)
erased_user_table(Base.metadata)


class Recipient(Base):
    """A replica of a user's address data, kept up to date by events of the users service."""

    __tablename__ = "recipient"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    email: Mapped[str]
    name: Mapped[str]
    locale: Mapped[str]
    time_zone: Mapped[str]
    email_verified: Mapped[bool]
    """Mails are deferred until it is true, except sealed ones."""
    # Of the event that wrote the row: an earlier one must not overwrite it, whenever it is applied.
    sequence: Mapped[int] = mapped_column(sa.BigInteger)
    updated_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())


class Notification(Base):
    """A notification of one user about one event. There is no foreign key, because the user may be unknown here yet."""

    __tablename__ = "notification"
    __table_args__ = (
        sa.UniqueConstraint("user_id", "event_id"),
        # An order that was restored to an earlier state is confirmed again, with another event.
        sa.Index(
            "uq_notification_order_change",
            sa.text("(data->>'order_id')"),
            "event_type",
            sa.text("(data->>'refunded_cents')"),
            unique=True,
            postgresql_where=sa.text("data->>'order_id' IS NOT NULL"),
            postgresql_nulls_not_distinct=True,
        ),
        sa.Index("ix_notification_user_id", "user_id", "id"),
        sa.Index("ix_notification_unread", "user_id", "id", postgresql_where=sa.text("read_at IS NULL AND in_app")),
        sa.CheckConstraint("sealed IS NULL OR NOT in_app", name="sealed_not_in_app"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    user_id: Mapped[UUID]
    event_id: Mapped[UUID]
    event_type: Mapped[str]
    category: Mapped[str]
    title: Mapped[str]
    data: Mapped[dict[str, JsonValue]] = mapped_column(JSONB)
    in_app: Mapped[bool] = mapped_column(server_default=sa.true())
    """Whether the user sees it in the app: a sealed mail is not shown there, also after it was sent."""
    sealed: Mapped[str | None]
    """Address and one-time token of a mail, a sealed `AccountMail`. Null once the mail was sent or has failed."""
    locale: Mapped[str | None]
    """The language of a sealed mail."""
    expires_at: Mapped[datetime | None]
    """The time from which on a sealed mail is not sent any more."""
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    read_at: Mapped[datetime | None]

    deliveries: Mapped[list["Delivery"]] = relationship(
        back_populates="notification", lazy="raise", order_by="Delivery.channel"
    )


class Delivery(Base):
    """The delivery of a notification on one channel."""

    __tablename__ = "delivery"
    __table_args__ = (
        sa.UniqueConstraint("notification_id", "channel"),
        sa.CheckConstraint(one_of("status", get_args(DeliveryStatus)), name="status"),
        sa.CheckConstraint("attempts >= 0", name="attempts"),
        sa.CheckConstraint("(status = 'sent') = (sent_at IS NOT NULL)", name="sent_at"),
        sa.CheckConstraint(
            f"({one_of('status', OPEN_STATUSES)}) = (next_attempt_at IS NOT NULL)", name="next_attempt_at"
        ),
        sa.CheckConstraint("next_attempt_at IS NULL OR first_due_at IS NOT NULL", name="first_due_at"),
        # First attempts and retries are claimed apart, so that neither waits behind a heap of the other.
        sa.Index("ix_delivery_due_first", "next_attempt_at", postgresql_where=sa.text("status = 'queued'")),
        sa.Index(
            "ix_delivery_due_again", "next_attempt_at", postgresql_where=sa.text("status IN ('sending', 'retrying')")
        ),
        sa.Index("ix_delivery_failed", "id", postgresql_where=sa.text("status = 'failed'")),
        sa.Index("ix_delivery_deferred", "id", postgresql_where=sa.text("status = 'deferred'")),
        # The audit looks for these: nothing but the users service lets them wait.
        sa.Index(
            "ix_delivery_recipient_unknown",
            "id",
            postgresql_where=sa.text("status = 'deferred' AND last_error IS DISTINCT FROM 'address_unverified'"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    notification_id: Mapped[UUID] = mapped_column(sa.ForeignKey("notification.id", ondelete="CASCADE"))
    channel: Mapped[Channel] = mapped_column(sa.Text)
    status: Mapped[DeliveryStatus] = mapped_column(sa.Text)
    attempts: Mapped[int] = mapped_column(default=0, server_default=sa.text("0"))
    earlier_attempts: Mapped[int] = mapped_column(default=0, server_default=sa.text("0"))
    """Attempts before the last resend."""
    first_due_at: Mapped[datetime | None]
    """Time at which the first attempt was due, or the delivery was resent: the time for its retries begins here."""
    next_attempt_at: Mapped[datetime | None]
    """Time of the next attempt. While sending: when this attempt counts as interrupted."""
    traceparent: Mapped[str | None]
    """Trace of the event that caused the notification, which the attempts continue."""
    last_error: Mapped[str | None]
    """A code, never the provider's message, which may hold addresses."""
    provider: Mapped[str | None]
    provider_message_id: Mapped[str | None]
    sent_at: Mapped[datetime | None]

    notification: Mapped[Notification] = relationship(back_populates="deliveries", lazy="raise")


class DeliveryAttempt(Base):
    """An attempt of a delivery that failed."""

    __tablename__ = "delivery_attempt"

    delivery_id: Mapped[UUID] = mapped_column(sa.ForeignKey("delivery.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    error: Mapped[str]
    """A code, as the delivery's last error."""
    reply_code: Mapped[int | None]
    """The number of the mail server's reply, such as 421. Its text may hold addresses."""
    ended_at: Mapped[datetime] = mapped_column(server_default=sa.func.clock_timestamp())


class DeliveryAction(Base):
    """An operator's action on a delivery."""

    __tablename__ = "delivery_action"
    __table_args__ = (
        sa.Index("ix_delivery_action_delivery_id", "delivery_id", "id"),
        sa.Index("ix_delivery_action_acted_at", "acted_at", "id"),
    )

    id: Mapped[int] = mapped_column(sa.BigInteger, sa.Identity(always=True), primary_key=True)
    delivery_id: Mapped[UUID] = mapped_column(sa.ForeignKey("delivery.id", ondelete="CASCADE"))
    actor: Mapped[str]
    action: Mapped[str]
    note: Mapped[str]
    status_before: Mapped[str]
    error_before: Mapped[str | None]
    acted_at: Mapped[datetime] = mapped_column(server_default=sa.func.clock_timestamp())
