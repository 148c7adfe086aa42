"""Erasures and their acknowledgements."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_NOW = sa.text("clock_timestamp()")


def upgrade() -> None:
    op.create_table(
        "erasure",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("requested_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("asked", sa.Integer(), nullable=False),
        sa.Column("last_asked_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("completed_at", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasure")),
        sa.UniqueConstraint("user_id", name=op.f("uq_erasure_user_id")),
        sa.CheckConstraint("asked > 0", name=op.f("ck_erasure_asked")),
    )
    op.create_index("ix_erasure_requested_at", "erasure", ["requested_at", "id"])
    for name, condition in (("pending", "completed_at IS NULL"), ("completed", "completed_at IS NOT NULL")):
        op.create_index(f"ix_erasure_{name}", "erasure", ["requested_at", "id"], postgresql_where=sa.text(condition))
    op.create_table(
        "erasure_acknowledgement",
        sa.Column("erasure_id", sa.Uuid(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("acknowledged_at", _TIME, server_default=_NOW, nullable=False),
        sa.PrimaryKeyConstraint("erasure_id", "service", name=op.f("pk_erasure_acknowledgement")),
        sa.ForeignKeyConstraint(["erasure_id"], ["erasure.id"], name=op.f("fk_erasure_acknowledgement_erasure_id")),
    )


def downgrade() -> None:
    op.drop_table("erasure_acknowledgement")
    op.drop_table("erasure")
