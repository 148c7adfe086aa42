"""The data that the users service has of a user: no secret, hash or token is among them.

A new kind of data is one line in COLLECTION, and a member of `UsersExport`.
"""

from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.authentication.queries import methods_of
from services.users.data_export.schemas import (
    ExportedCredit,
    ExportedCreditEntry,
    ExportedDevice,
    ExportedMailedLink,
    ExportedProfile,
    ExportedReservation,
    ExportedSession,
)
from services.users.models.accounts import UserAccount
from services.users.models.credentials import KnownDevice
from services.users.models.credit import CreditAccount, CreditEntry, CreditReservation
from services.users.models.one_time_tokens import OneTimeToken
from services.users.models.second_factors import Passkey
from services.users.models.security_record import SecurityEvent
from services.users.models.sessions import UserSession
from services.users.passkeys.schemas import PasskeyView
from services.users.second_factors.schemas import MethodsView
from services.users.security_record.schemas import OwnSecurityEventView
from shared.data_exports import Collection, RowList


async def _profile(session: AsyncSession, user_id: UUID) -> ExportedProfile:
    return ExportedProfile.model_validate(await session.get_one(UserAccount, user_id))


async def _sign_in_methods(session: AsyncSession, user_id: UUID) -> MethodsView:
    return MethodsView.model_validate(await methods_of(session, user_id))


async def _credit(session: AsyncSession, user_id: UUID) -> ExportedCredit:
    return ExportedCredit.model_validate(await session.get_one(CreditAccount, user_id))


def _of_user(*order_by: Any) -> Any:
    """Return the query of a user's rows of the table that these columns belong to."""

    def select(user_id: UUID) -> sa.Select[Any]:
        table = order_by[0].class_
        return sa.select(table).where(table.user_id == user_id).order_by(*order_by)

    return select


COLLECTION = Collection(
    facts={"profile": _profile, "sign_in_methods": _sign_in_methods, "credit": _credit},
    lists={
        "passkeys": RowList(_of_user(Passkey.created_at, Passkey.id), PasskeyView.model_validate),
        "credit_entries": RowList(_of_user(CreditEntry.id), ExportedCreditEntry.model_validate),
        "credit_reservations": RowList(
            _of_user(CreditReservation.created_at, CreditReservation.order_id), ExportedReservation.model_validate
        ),
        "sessions": RowList(_of_user(UserSession.created_at, UserSession.id), ExportedSession.model_validate),
        "known_devices": RowList(_of_user(KnownDevice.created_at, KnownDevice.id), ExportedDevice.model_validate),
        "security_events": RowList(_of_user(SecurityEvent.occurred_at, SecurityEvent.id), OwnSecurityEventView.of),
        "mailed_links": RowList(
            _of_user(OneTimeToken.created_at, OneTimeToken.token_hash), ExportedMailedLink.model_validate
        ),
    },
)
"""The members of the type `UsersExport`."""
