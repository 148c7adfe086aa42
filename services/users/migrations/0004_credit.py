"""Credit accounts, the reservations of orders, and the ledger of all changes."""

import sqlalchemy as sa
from alembic import op

from shared.migrations.runner import run_script

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_KINDS = "'opened', 'reserved', 'released', 'used', 'refunded', 'limit_changed', 'corrected'"
# An entry goes with its account, which is deleted before it. A reason may be removed: it can hold personal data.
_APPEND_ONLY = """
CREATE FUNCTION keep_credit_entry() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND NOT EXISTS (SELECT FROM credit_account WHERE user_id = OLD.user_id) THEN
        RETURN OLD;
    END IF;
    IF TG_OP = 'UPDATE' AND NEW.reason IS NULL THEN
        OLD.reason := NULL;
        IF NEW IS NOT DISTINCT FROM OLD THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION 'the credit ledger is append-only' USING ERRCODE = 'integrity_constraint_violation';
END
$$;

CREATE TRIGGER credit_entry_is_append_only BEFORE UPDATE OR DELETE ON credit_entry
FOR EACH ROW EXECUTE FUNCTION keep_credit_entry();
"""


def upgrade() -> None:
    _create_credit_account()
    _create_credit_reservation()
    _create_credit_entry()


def downgrade() -> None:
    op.drop_table("credit_entry")
    op.execute("DROP FUNCTION keep_credit_entry()")
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


def _create_credit_entry() -> None:
    op.create_table(
        "credit_entry",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("order_id", sa.Uuid(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reserved_delta_cents", sa.BigInteger(), nullable=False),
        sa.Column("used_delta_cents", sa.BigInteger(), nullable=False),
        sa.Column("limit_delta_cents", sa.BigInteger(), nullable=False),
        sa.Column("reserved_cents", sa.BigInteger(), nullable=False),
        sa.Column("used_cents", sa.BigInteger(), nullable=False),
        sa.Column("limit_cents", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("user_id", "id", name=op.f("pk_credit_entry")),
        sa.ForeignKeyConstraint(
            ["user_id"], ["credit_account.user_id"], name=op.f("fk_credit_entry_user_id"), ondelete="CASCADE"
        ),
        sa.CheckConstraint(f"kind IN ({_KINDS})", name=op.f("ck_credit_entry_kind")),
        sa.CheckConstraint(
            "order_id IS NOT NULL OR kind IN ('opened', 'limit_changed', 'corrected')",
            name=op.f("ck_credit_entry_order"),
        ),
        sa.CheckConstraint("reserved_cents >= 0 AND used_cents >= 0", name=op.f("ck_credit_entry_not_negative")),
        sa.CheckConstraint("reserved_cents + used_cents <= limit_cents", name=op.f("ck_credit_entry_within_limit")),
    )
    op.create_index(
        "ix_credit_entry_order_id",
        "credit_entry",
        ["order_id", "id"],
        postgresql_where=sa.text("order_id IS NOT NULL"),
    )
    op.create_index(
        "ix_credit_entry_by_hand", "credit_entry", ["created_at", "id"], postgresql_where=sa.text("actor IS NOT NULL")
    )
    run_script(_APPEND_ONLY)
