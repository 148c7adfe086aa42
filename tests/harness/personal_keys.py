"""Keys of users' personal data, and events that are sealed with them, as the users service would make them."""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TypeVar
from uuid import UUID

import httpx2

from shared.events.users import AccountMail, Contact, UserCreated, UserUpdated
from shared.personal_data import seal
from shared.personal_keys import PersonalKeys

ProfileT = TypeVar("ProfileT", bound=UserCreated | UserUpdated)


def key_of(user_id: UUID) -> bytes:
    """Return the key of a user, who need not be made first."""
    return hashlib.sha256(user_id.bytes).digest()


def profile_event(
    event_class: type[ProfileT],
    user_id: UUID,
    *,
    email: str = "ada@example.org",
    name: str = "Ada",
    locale: str = "en",
    time_zone: str = "UTC",
    email_verified: bool = True,
) -> ProfileT:
    """Return an event with a user's sealed contact."""
    contact = Contact(email=email, name=name, phone=None)
    return event_class(
        user_id=user_id,
        personal=seal(contact, key=key_of(user_id), user_id=user_id),
        locale=locale,
        time_zone=time_zone,
        email_verified=email_verified,
    )


def sealed_mail(user_id: UUID, *, email: str, token: str) -> str:
    """Return the address and the token of a mail, sealed."""
    return seal(AccountMail(email=email, token=token), key=key_of(user_id), user_id=user_id)


@dataclass
class StoredKeys:
    """The keys of all users but those who were erased. While it is `away`, it does not answer."""

    erased: set[UUID] = field(default_factory=set)
    away: bool = False
    reads: list[set[UUID]] = field(default_factory=list)
    """The users of each request."""

    async def read(self, user_ids: Collection[UUID]) -> Mapping[UUID, bytes]:
        """Return keys as `UsersClient.personal_keys` does."""
        self.reads.append(set(user_ids))
        if self.away:
            raise httpx2.ConnectError("away")
        return {user_id: key_of(user_id) for user_id in user_ids if user_id not in self.erased}

    def personal_keys(self) -> PersonalKeys:
        """Return what a service reads keys with. It has no key in its cache yet."""
        return PersonalKeys(self.read)
