"""Recipients, notifications and their deliveries."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from shared import erased_users, sealed_contacts
from shared.migrations.runner import run_script

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_script(sealed_contacts.SCHEMA_UP)
    run_script(erased_users.SCHEMA_UP)
    op.create_table(
        "recipient",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("locale", sa.Text(), nullable=False),
        sa.Column("time_zone", sa.Text(), nullable=False),
        sa.Column("email_verified", sa.Boolean(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name="pk_recipient"),
    )
    _create_notification()
    _create_delivery()
    _create_delivery_attempt()
    _create_delivery_action()


def _create_notification() -> None:
    op.create_table(
        "notification",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("data", postgresql.JSONB(), nullable=False),
        sa.Column("in_app", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=True),
        sa.Column("locale", sa.Text(), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_notification"),
        sa.UniqueConstraint("user_id", "event_id", name="uq_notification_user_id_event_id"),
        sa.CheckConstraint("sealed IS NULL OR NOT in_app", name=op.f("ck_notification_sealed_not_in_app")),
    )
    # A change of an order is notified once, even if a restored orders database repeats it with another event.
    op.create_index(
        "uq_notification_order_change",
        "notification",
        [sa.text("(data->>'order_id')"), "event_type", sa.text("(data->>'refunded_cents')")],
        unique=True,
        postgresql_where=sa.text("data->>'order_id' IS NOT NULL"),
        postgresql_nulls_not_distinct=True,
    )
    op.create_index("ix_notification_user_id", "notification", ["user_id", "id"])
    op.create_index(
        "ix_notification_unread",
        "notification",
        ["user_id", "id"],
        postgresql_where=sa.text("read_at IS NULL AND in_app"),
    )


def _create_delivery() -> None:
    op.create_table(
        "delivery",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("notification_id", sa.Uuid(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("earlier_attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("first_due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("traceparent", sa.Text(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("provider", sa.Text(), nullable=True),
        sa.Column("provider_message_id", sa.Text(), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_delivery"),
        sa.UniqueConstraint("notification_id", "channel", name="uq_delivery_notification_id_channel"),
        sa.ForeignKeyConstraint(
            ["notification_id"],
            ["notification.id"],
            name="fk_delivery_notification_id",
            ondelete="CASCADE",
        ),
        sa.CheckConstraint(
            "status IN ('queued', 'sending', 'sent', 'retrying', 'deferred', 'failed')",
            name=op.f("ck_delivery_status"),
        ),
        sa.CheckConstraint("attempts >= 0", name=op.f("ck_delivery_attempts")),
        sa.CheckConstraint("(status = 'sent') = (sent_at IS NOT NULL)", name=op.f("ck_delivery_sent_at")),
        sa.CheckConstraint(
            "(status IN ('queued', 'sending', 'retrying')) = (next_attempt_at IS NOT NULL)",
            name=op.f("ck_delivery_next_attempt_at"),
        ),
        sa.CheckConstraint(
            "next_attempt_at IS NULL OR first_due_at IS NOT NULL", name=op.f("ck_delivery_first_due_at")
        ),
    )
    for name, column, condition in (
        ("ix_delivery_due_first", "next_attempt_at", "status = 'queued'"),
        ("ix_delivery_due_again", "next_attempt_at", "status IN ('sending', 'retrying')"),
        ("ix_delivery_failed", "id", "status = 'failed'"),
        ("ix_delivery_deferred", "id", "status = 'deferred'"),
        (
            "ix_delivery_recipient_unknown",
            "id",
            "status = 'deferred' AND last_error IS DISTINCT FROM 'address_unverified'",
        ),
    ):
        op.create_index(name, "delivery", [column], postgresql_where=sa.text(condition))


def _create_delivery_attempt() -> None:
    op.create_table(
        "delivery_attempt",
        sa.Column("delivery_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("reply_code", sa.Integer(), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("delivery_id", "number", name="pk_delivery_attempt"),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["delivery.id"], name="fk_delivery_attempt_delivery_id", ondelete="CASCADE"
        ),
    )


def _create_delivery_action() -> None:
    op.create_table(
        "delivery_action",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("delivery_id", sa.Uuid(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("status_before", sa.Text(), nullable=False),
        sa.Column("error_before", sa.Text(), nullable=True),
        sa.Column("acted_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_delivery_action"),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["delivery.id"], name="fk_delivery_action_delivery_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_delivery_action_delivery_id", "delivery_action", ["delivery_id", "id"])
    op.create_index("ix_delivery_action_acted_at", "delivery_action", ["acted_at", "id"])


def downgrade() -> None:
    op.drop_table("delivery_action")
    op.drop_table("delivery_attempt")
    op.drop_table("delivery")
    op.drop_table("notification")
    op.drop_table("recipient")
    run_script(erased_users.SCHEMA_DOWN)
    run_script(sealed_contacts.SCHEMA_DOWN)
