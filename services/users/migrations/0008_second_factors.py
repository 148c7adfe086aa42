"""Second factors: authenticator apps, recovery codes, passkeys."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    _create_totp()
    _create_recovery_code()
    _create_passkey_user()
    _create_passkey()
    _create_passkey_challenge()


def downgrade() -> None:
    for table in ("passkey_challenge", "passkey", "passkey_user", "recovery_code", "totp"):
        op.drop_table(table)


def _of_account(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["user_id"], ["user_account.id"], name=op.f(f"fk_{table}_user_id"), ondelete="CASCADE"
    )


def _create_totp() -> None:
    op.create_table(
        "totp",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("encrypted_secret", sa.Text(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("confirmed_at", _TIME, nullable=True),
        sa.Column("last_used_step", sa.BigInteger(), nullable=True),
        sa.Column("wrong_codes", sa.Integer(), nullable=False),
        sa.Column("blocked_until", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_totp")),
        _of_account("totp"),
        sa.CheckConstraint("wrong_codes >= 0", name=op.f("ck_totp_wrong_codes")),
    )


def _create_recovery_code() -> None:
    op.create_table(
        "recovery_code",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("code_hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "code_hash", name=op.f("pk_recovery_code")),
        _of_account("recovery_code"),
    )


def _create_passkey_user() -> None:
    op.create_table(
        "passkey_user",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("handle", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_passkey_user")),
        sa.UniqueConstraint("handle", name=op.f("uq_passkey_user_handle")),
        _of_account("passkey_user"),
    )


def _create_passkey() -> None:
    op.create_table(
        "passkey",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("credential_id", sa.LargeBinary(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("sign_count", sa.BigInteger(), nullable=False),
        sa.Column("transports", ARRAY(sa.Text()), nullable=False),
        sa.Column("authenticator_id", sa.Uuid(), nullable=False),
        sa.Column("backup_eligible", sa.Boolean(), nullable=False),
        sa.Column("backed_up", sa.Boolean(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("last_used_at", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_passkey")),
        sa.UniqueConstraint("credential_id", name=op.f("uq_passkey_credential_id")),
        _of_account("passkey"),
        sa.CheckConstraint("sign_count >= 0", name=op.f("ck_passkey_sign_count")),
    )
    op.create_index("ix_passkey_user_id", "passkey", ["user_id", "created_at", "id"])


def _create_passkey_challenge() -> None:
    op.create_table(
        "passkey_challenge",
        sa.Column("challenge_hash", sa.LargeBinary(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("challenge_hash", name=op.f("pk_passkey_challenge")),
        _of_account("passkey_challenge"),
    )
    op.create_index("ix_passkey_challenge_user_id", "passkey_challenge", ["user_id"])
    op.create_index("ix_passkey_challenge_expires_at", "passkey_challenge", ["expires_at"])
