"""The table of the security record: who did what to which account, append-only."""

from datetime import datetime
from typing import Any, Literal, get_args
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from services.users.models.declarative import Base
from shared.metadata import one_of

SecurityEventKind = Literal[
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
]


class SecurityEvent(Base):
    """One entry of the security record.

    A trigger allows two changes: erasure removes `address`, `user_agent` and the `reason` in `details`, which can be
    personal data; and failed sign-ins are deleted after 30 days.
    """

    __tablename__ = "security_event"

    id: Mapped[int] = mapped_column(sa.BigInteger, sa.Identity(always=True), primary_key=True)
    user_id: Mapped[UUID | None]
    """The account that the entry is about. No foreign key: the record outlives purged accounts."""
    kind: Mapped[SecurityEventKind] = mapped_column(sa.Text)
    actor: Mapped[str]
    """The id of the user who acted, `system`, or the operator who ran a command."""
    address: Mapped[str | None]
    user_agent: Mapped[str | None]
    details: Mapped[dict[str, Any]] = mapped_column(JSONB)
    """The change, without personal data."""
    occurred_at: Mapped[datetime] = mapped_column(server_default=sa.func.clock_timestamp())

    __table_args__ = (
        sa.CheckConstraint(one_of("kind", get_args(SecurityEventKind)), name="kind"),
        sa.Index("ix_security_event_user_id", "user_id", "occurred_at", "id"),
        sa.Index("ix_security_event_kind", "kind", "occurred_at", "id"),
        sa.Index("ix_security_event_actor", "actor", "occurred_at", "id"),
        sa.Index("ix_security_event_occurred_at", "occurred_at", "id"),
    )
