"""Known devices."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "known_device",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("last_seen_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_known_device")),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user_account.id"], name=op.f("fk_known_device_user_id"), ondelete="CASCADE"
        ),
        sa.UniqueConstraint("user_id", "token_hash", name=op.f("uq_known_device_user_id")),
    )
    op.create_index("ix_known_device_last_seen_at", "known_device", ["user_id", "last_seen_at", "id"])
    op.create_index("ix_known_device_expires_at", "known_device", ["expires_at"])


def downgrade() -> None:
    op.drop_table("known_device")
