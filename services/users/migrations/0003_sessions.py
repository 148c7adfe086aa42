"""Sessions, refresh tokens, sign-in challenges, and the keys that sign access tokens."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_METHODS = "amr <@ ARRAY['pwd', 'otp', 'hwk', 'rc'] AND cardinality(amr) > 0"


def upgrade() -> None:
    _create_user_session()
    _create_revoked_session()
    _create_refresh_token()
    _create_sign_in_challenge()
    _create_signing_key()


def downgrade() -> None:
    op.drop_table("signing_key")
    op.drop_table("sign_in_challenge")
    op.drop_table("refresh_token")
    op.drop_table("revoked_session")
    op.drop_table("user_session")


def _create_user_session() -> None:
    op.create_table(
        "user_session",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("user_agent", sa.Text(), nullable=True),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("amr", ARRAY(sa.Text()), nullable=False),
        sa.Column("authenticated_at", _TIME, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("last_used_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.Column("ends_at", _TIME, nullable=False),
        sa.Column("revoked_at", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user_session")),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user_account.id"], name=op.f("fk_user_session_user_id"), ondelete="CASCADE"
        ),
        sa.CheckConstraint(_METHODS, name=op.f("ck_user_session_amr")),
        sa.CheckConstraint("expires_at <= ends_at", name=op.f("ck_user_session_ends")),
    )
    op.create_index("ix_user_session_user_id", "user_session", ["user_id", "created_at", "id"])
    op.create_index("ix_user_session_expires_at", "user_session", ["expires_at"])


def _create_revoked_session() -> None:
    op.create_table(
        "revoked_session",
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("revoked_at", _TIME, server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("session_id", name=op.f("pk_revoked_session")),
    )
    op.create_index("ix_revoked_session_revoked_at", "revoked_session", ["revoked_at"])


def _create_refresh_token() -> None:
    op.create_table(
        "refresh_token",
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.Column("used_at", _TIME, nullable=True),
        sa.Column("sealed_successor", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_refresh_token")),
        sa.ForeignKeyConstraint(
            ["session_id"], ["user_session.id"], name=op.f("fk_refresh_token_session_id"), ondelete="CASCADE"
        ),
    )
    op.create_index("ix_refresh_token_session_id", "refresh_token", ["session_id"])
    op.create_index("ix_refresh_token_expires_at", "refresh_token", ["expires_at"])
    op.create_index(
        "ix_refresh_token_used_at",
        "refresh_token",
        ["used_at"],
        postgresql_where=sa.text("sealed_successor IS NOT NULL"),
    )


def _create_sign_in_challenge() -> None:
    op.create_table(
        "sign_in_challenge",
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("amr", ARRAY(sa.Text()), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_sign_in_challenge")),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user_account.id"], name=op.f("fk_sign_in_challenge_user_id"), ondelete="CASCADE"
        ),
        sa.CheckConstraint(_METHODS, name=op.f("ck_sign_in_challenge_amr")),
    )
    op.create_index("ix_sign_in_challenge_user_id", "sign_in_challenge", ["user_id"])
    op.create_index("ix_sign_in_challenge_expires_at", "sign_in_challenge", ["expires_at"])


def _create_signing_key() -> None:
    op.create_table(
        "signing_key",
        sa.Column("kid", sa.Text(), nullable=False),
        sa.Column("private_key", sa.Text(), nullable=True),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", _TIME, server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("signs_from", _TIME, nullable=False),
        sa.Column("withdrawn_at", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("kid", name=op.f("pk_signing_key")),
        sa.CheckConstraint("(private_key IS NULL) = (withdrawn_at IS NOT NULL)", name=op.f("ck_signing_key_withdrawn")),
    )
