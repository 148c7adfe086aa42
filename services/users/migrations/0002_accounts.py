"""Accounts."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "user_account",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("phone", sa.Text(), nullable=True),
        sa.Column("bio", sa.Text(), nullable=True),
        sa.Column("locale", sa.Text(), nullable=False),
        sa.Column("time_zone", sa.Text(), nullable=False),
        sa.Column("roles", ARRAY(sa.Text()), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("second_factor", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("email_verified_at", _TIME, nullable=True),
        sa.Column("personal_key", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user_account")),
        sa.CheckConstraint(
            "status IN ('active', 'suspended', 'erasing', 'erased')", name=op.f("ck_user_account_status")
        ),
        sa.CheckConstraint(
            "roles <@ ARRAY['customer', 'support', 'admin'] AND cardinality(roles) > 0",
            name=op.f("ck_user_account_roles"),
        ),
    )
    op.create_index("ix_user_account_lower_email", "user_account", [sa.text("lower(email)")], unique=True)
    op.create_index("ix_user_account_email_prefix", "user_account", [sa.text('lower(email COLLATE "C")')])
    op.create_index("ix_user_account_created_at", "user_account", ["created_at", "id"])
    op.create_index("ix_user_account_status", "user_account", ["status", "created_at", "id"])
    op.create_index(
        "ix_user_account_unverified",
        "user_account",
        ["created_at", "id"],
        postgresql_where=sa.text("email_verified_at IS NULL"),
    )
    for role in ("support", "admin"):
        op.create_index(
            f"ix_user_account_{role}",
            "user_account",
            ["created_at", "id"],
            postgresql_where=sa.text(f"roles @> ARRAY['{role}']"),
        )


def downgrade() -> None:
    op.drop_table("user_account")
