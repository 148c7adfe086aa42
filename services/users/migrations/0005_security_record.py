"""The security record."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from shared.migrations.runner import run_script

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# An entry keeps what happened; only what is personal may be removed from it: the origin of the request, and the reason
# that an admin wrote.
_APPEND_ONLY = """
CREATE FUNCTION keep_security_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE'
       AND (NEW.address IS NULL OR NEW.address = OLD.address)
       AND (NEW.user_agent IS NULL OR NEW.user_agent = OLD.user_agent)
       AND (NEW.id, NEW.user_id, NEW.kind, NEW.actor, NEW.occurred_at)
           IS NOT DISTINCT FROM (OLD.id, OLD.user_id, OLD.kind, OLD.actor, OLD.occurred_at)
       AND NEW.details IN (OLD.details, OLD.details - 'reason') THEN
        RETURN NEW;
    END IF;
    -- Anyone can cause these.
    IF TG_OP = 'DELETE' AND OLD.kind = 'sign_in_failed' AND OLD.occurred_at < now() - interval '30 days' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'the security record is append-only' USING ERRCODE = 'integrity_constraint_violation';
END
$$;

CREATE TRIGGER security_event_is_append_only BEFORE UPDATE OR DELETE ON security_event
FOR EACH ROW EXECUTE FUNCTION keep_security_event();
"""

_KINDS = (
    "account_created",
    "account_suspended",
    "account_reinstated",
    "account_purged",
    "roles_changed",
    "credit_limit_changed",
    "profile_changed",
    "sign_up_attempted",
    "signed_in",
    "sign_in_failed",
    "new_device",
    "session_revoked",
    "sessions_revoked",
    "refresh_token_reused",
    "email_verified",
    "email_change_requested",
    "email_changed",
    "password_reset_requested",
    "password_reset",
    "password_changed",
    "second_factor_added",
    "second_factor_removed",
    "recovery_codes_generated",
    "recovery_code_used",
    "passkey_added",
    "passkey_removed",
    "signing_keys_rotated",
    "erasure_requested",
    "erased",
    "data_exported",
)


def upgrade() -> None:
    op.create_table(
        "security_event",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("user_agent", sa.Text(), nullable=True),
        sa.Column("details", JSONB(), nullable=False),
        sa.Column(
            "occurred_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_security_event")),
        sa.CheckConstraint(f"kind IN ({', '.join(map(repr, _KINDS))})", name=op.f("ck_security_event_kind")),
    )
    op.create_index("ix_security_event_occurred_at", "security_event", ["occurred_at", "id"])
    for column in ("user_id", "kind", "actor"):
        op.create_index(f"ix_security_event_{column}", "security_event", [column, "occurred_at", "id"])
    run_script(_APPEND_ONLY)


def downgrade() -> None:
    op.drop_table("security_event")
    op.execute("DROP FUNCTION keep_security_event()")
