"""The table of users, and the rules that guard a row."""

from datetime import datetime
from typing import Literal, get_args

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from services.users.models.declarative import Base, Id, NowByDefault
from shared.metadata import one_of
from shared.personal_data import PersonalData, new_personal_key, seal

Role = Literal["customer", "support", "admin"]
UserStatus = Literal["active", "suspended", "erasing", "erased"]
"""Only the user of an active account can sign in, refresh a session, and get credit for an order.

An account is `erasing` until every service has erased its user's personal data, and `erased` from then on."""


class PersonalKeyDestroyed(Exception):
    """The account was erased: nothing can be sealed for its user any more."""


class UserAccount(Base):
    """A user. `version` counts changes of what `GET /v1/users/me` shows."""

    __tablename__ = "user_account"

    id: Mapped[Id]
    email: Mapped[str]
    name: Mapped[str]
    phone: Mapped[str | None]
    bio: Mapped[str | None]
    locale: Mapped[str]
    time_zone: Mapped[str]
    roles: Mapped[list[Role]] = mapped_column(ARRAY(sa.Text))
    status: Mapped[UserStatus] = mapped_column(sa.Text, default="active")
    password_hash: Mapped[str | None]
    """None: the account signs in with passkeys only."""
    second_factor: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    """Whether a password alone does not sign in: the account has an authenticator app or a passkey."""
    email_verified_at: Mapped[datetime | None]
    personal_key: Mapped[bytes | None] = mapped_column(default=new_personal_key)
    """The key of the user's personal data in events. Null once the account is erased: nobody can read these then."""
    created_at: Mapped[NowByDefault]
    updated_at: Mapped[NowByDefault]
    version: Mapped[int] = mapped_column(default=1)

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 - SQLAlchemy's own form
    __table_args__ = (
        sa.CheckConstraint(one_of("status", get_args(UserStatus)), name="status"),
        sa.CheckConstraint("roles <@ ARRAY['customer', 'support', 'admin'] AND cardinality(roles) > 0", name="roles"),
        sa.Index("ix_user_account_lower_email", sa.text("lower(email)"), unique=True),
        # For prefixes of addresses, whatever the database's collation is.
        sa.Index("ix_user_account_email_prefix", sa.text('lower(email COLLATE "C")')),
        sa.Index("ix_user_account_created_at", "created_at", "id"),
        sa.Index("ix_user_account_status", "status", "created_at", "id"),
        sa.Index(
            "ix_user_account_unverified", "created_at", "id", postgresql_where=sa.text("email_verified_at IS NULL")
        ),
        # None for customers: nearly all accounts are theirs, and the index by age finds them as fast.
        *(
            sa.Index(
                f"ix_user_account_{role}",
                "created_at",
                "id",
                postgresql_where=sa.text(f"roles @> ARRAY['{role}']"),
            )
            for role in ("support", "admin")
        ),
    )

    def seal(self, data: PersonalData) -> str:
        """Encrypt personal data of this user for an event. Raises: PersonalKeyDestroyed."""
        if self.personal_key is None:
            raise PersonalKeyDestroyed
        return seal(data, key=self.personal_key, user_id=self.id)
