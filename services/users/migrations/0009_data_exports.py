"""Exports of users' data."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "data_export",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("missing", ARRAY(sa.Text()), nullable=False),
        sa.Column("requested_at", _TIME, nullable=False),
        sa.Column("requests", sa.Integer(), nullable=False),
        sa.Column("next_request_at", _TIME, nullable=True),
        sa.Column("ready_at", _TIME, nullable=True),
        sa.Column("expires_at", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_data_export")),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user_account.id"], name=op.f("fk_data_export_user_id"), ondelete="CASCADE"
        ),
        sa.CheckConstraint("status IN ('pending', 'ready')", name=op.f("ck_data_export_status")),
        sa.CheckConstraint("missing <@ ARRAY['users', 'orders', 'notifications']", name=op.f("ck_data_export_missing")),
        sa.CheckConstraint(
            "(status = 'pending') = (next_request_at IS NOT NULL) AND (status = 'ready') = (ready_at IS NOT NULL)"
            " AND (status = 'ready') = (expires_at IS NOT NULL) AND (status = 'pending' OR missing = '{}')",
            name=op.f("ck_data_export_ready"),
        ),
    )
    op.create_index("ix_data_export_user_id", "data_export", ["user_id", "requested_at", "id"])
    pending = sa.text("status = 'pending'")
    op.create_index("uq_data_export_pending", "data_export", ["user_id"], unique=True, postgresql_where=pending)
    op.create_index("ix_data_export_next_request_at", "data_export", ["next_request_at"])
    op.create_index("ix_data_export_requested_at", "data_export", ["requested_at"], postgresql_where=pending)
    op.create_index("ix_data_export_expires_at", "data_export", ["expires_at"])
    op.create_table(
        "data_export_part",
        sa.Column("export_id", sa.Uuid(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("attempt_id", sa.Uuid(), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("personal", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("export_id", "service", "attempt_id", "part", name=op.f("pk_data_export_part")),
        sa.ForeignKeyConstraint(
            ["export_id"], ["data_export.id"], name=op.f("fk_data_export_part_export_id"), ondelete="CASCADE"
        ),
        sa.CheckConstraint("service IN ('users', 'orders', 'notifications')", name=op.f("ck_data_export_part_service")),
        sa.CheckConstraint("part > 0", name=op.f("ck_data_export_part_part")),
    )


def downgrade() -> None:
    op.drop_table("data_export_part")
    op.drop_table("data_export")
