"""One-time tokens."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "one_time_token",
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("created_at", _TIME, server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.Column("used_at", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_one_time_token")),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user_account.id"], name=op.f("fk_one_time_token_user_id"), ondelete="CASCADE"
        ),
        sa.CheckConstraint(
            "purpose IN ('verify_email', 'change_email', 'reset_password')", name=op.f("ck_one_time_token_purpose")
        ),
    )
    op.create_index("ix_one_time_token_user_id", "one_time_token", ["user_id", "purpose", "created_at"])
    op.create_index("ix_one_time_token_expires_at", "one_time_token", ["expires_at"])


def downgrade() -> None:
    op.drop_table("one_time_token")
