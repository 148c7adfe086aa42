"""Credit accounts and the reservations of orders."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    _create_credit_account()
    _create_credit_reservation()


def downgrade() -> None:
    op.drop_table("credit_reservation")
    op.drop_table("credit_account")


def _create_credit_account() -> None:
    op.create_table(
        "credit_account",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("limit_cents", sa.BigInteger(), nullable=False),
        sa.Column("reserved_cents", sa.BigInteger(), nullable=False),
        sa.Column("used_cents", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_credit_account")),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user_account.id"], name=op.f("fk_credit_account_user_id"), ondelete="CASCADE"
        ),
        sa.CheckConstraint("reserved_cents >= 0 AND used_cents >= 0", name=op.f("ck_credit_account_not_negative")),
        sa.CheckConstraint("reserved_cents + used_cents <= limit_cents", name=op.f("ck_credit_account_within_limit")),
        sa.CheckConstraint("limit_cents <= 1000000000000000", name=op.f("ck_credit_account_limit_bounded")),
        sa.CheckConstraint("currency ~ '^[A-Z]{3}$'", name=op.f("ck_credit_account_currency")),
    )


def _create_credit_reservation() -> None:
    op.create_table(
        "credit_reservation",
        sa.Column("order_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("amount_cents", sa.BigInteger(), nullable=False),
        sa.Column("refunded_cents", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("order_id", name=op.f("pk_credit_reservation")),
        sa.CheckConstraint(
            "status IN ('reserved', 'refused', 'released', 'used')", name=op.f("ck_credit_reservation_status")
        ),
        sa.CheckConstraint("(status = 'refused') = (reason IS NOT NULL)", name=op.f("ck_credit_reservation_reason")),
        sa.CheckConstraint("amount_cents BETWEEN 0 AND 1000000000000000", name=op.f("ck_credit_reservation_amount")),
        sa.CheckConstraint("refunded_cents BETWEEN 0 AND amount_cents", name=op.f("ck_credit_reservation_refunded")),
        sa.CheckConstraint(
            "refunded_cents = 0 OR status = 'used'", name=op.f("ck_credit_reservation_refunded_when_used")
        ),
    )
    op.create_index("ix_credit_reservation_user_id", "credit_reservation", ["user_id", "status"])
