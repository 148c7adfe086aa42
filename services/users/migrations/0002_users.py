"""Accounts, sessions and refresh tokens, credit and its reservations."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    _create_user_account()
    _create_user_session()
    _create_refresh_token()
    _create_credit_account()
    _create_credit_reservation()


def downgrade() -> None:
    for table in ("credit_reservation", "credit_account", "refresh_token", "user_session", "user_account"):
        op.drop_table(table)


def _create_user_account() -> None:
    op.create_table(
        "user_account",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("phone", sa.Text(), nullable=True),
        sa.Column("locale", sa.Text(), nullable=False),
        sa.Column("time_zone", sa.Text(), nullable=False),
        sa.Column("roles", ARRAY(sa.Text()), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("email_verified_at", _TIME, nullable=True),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user_account")),
        sa.CheckConstraint("status IN ('active', 'suspended')", name=op.f("ck_user_account_status")),
        sa.CheckConstraint(
            "roles <@ ARRAY['customer', 'support', 'admin'] AND cardinality(roles) > 0",
            name=op.f("ck_user_account_roles"),
        ),
    )
    op.create_index("ix_user_account_lower_email", "user_account", [sa.text("lower(email)")], unique=True)
    op.create_index("ix_user_account_created_at", "user_account", ["created_at", "id"])
    op.create_index("ix_user_account_status", "user_account", ["status", "created_at", "id"])


def _create_user_session() -> None:
    op.create_table(
        "user_session",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("user_agent", sa.Text(), nullable=True),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("last_used_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.Column("revoked_at", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user_session")),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user_account.id"], name=op.f("fk_user_session_user_id"), ondelete="CASCADE"
        ),
    )
    op.create_index("ix_user_session_user_id", "user_session", ["user_id", "created_at", "id"])
    op.create_index("ix_user_session_expires_at", "user_session", ["expires_at"])


def _create_refresh_token() -> None:
    op.create_table(
        "refresh_token",
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.Column("used_at", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_refresh_token")),
        sa.ForeignKeyConstraint(
            ["session_id"], ["user_session.id"], name=op.f("fk_refresh_token_session_id"), ondelete="CASCADE"
        ),
    )
    op.create_index("ix_refresh_token_session_id", "refresh_token", ["session_id"])
    op.create_index("ix_refresh_token_expires_at", "refresh_token", ["expires_at"])


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
