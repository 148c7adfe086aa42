"""The table of users, and the rules that guard a row."""

from datetime import datetime
from typing import Literal, get_args

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from services.users.models.declarative import Base, Id, NowByDefault
from shared.metadata import one_of

Role = Literal["customer", "support", "admin"]
UserStatus = Literal["active", "suspended"]
"""Only the user of an active account can sign in, refresh a session, and get credit for an order."""


class UserAccount(Base):
    """A user. `version` counts changes of what `GET /v1/users/me` shows."""

    __tablename__ = "user_account"

    id: Mapped[Id]
    email: Mapped[str]
    name: Mapped[str]
    phone: Mapped[str | None]
    locale: Mapped[str]
    time_zone: Mapped[str]
    roles: Mapped[list[Role]] = mapped_column(ARRAY(sa.Text))
    status: Mapped[UserStatus] = mapped_column(sa.Text, default="active")
    password_hash: Mapped[str | None]
    """None: the account signs in with passkeys only."""
    second_factor: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    """Whether a password alone does not sign in: the account has an authenticator app or a passkey."""
    email_verified_at: Mapped[datetime | None]
    created_at: Mapped[NowByDefault]
    updated_at: Mapped[NowByDefault]
    version: Mapped[int] = mapped_column(default=1)

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 - SQLAlchemy's own form
    __table_args__ = (
        sa.CheckConstraint(one_of("status", get_args(UserStatus)), name="status"),
        sa.CheckConstraint("roles <@ ARRAY['customer', 'support', 'admin'] AND cardinality(roles) > 0", name="roles"),
        sa.Index("ix_user_account_lower_email", sa.text("lower(email)"), unique=True),
        sa.Index("ix_user_account_created_at", "created_at", "id"),
        sa.Index("ix_user_account_status", "status", "created_at", "id"),
    )
