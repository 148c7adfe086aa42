"""Commands of recipients: replace them, and make due the mails that were deferred until they can be reached."""

from collections.abc import Collection, Mapping
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from services.notifications import statements
from services.notifications.deliveries import WORKER
from services.notifications.rendering import render_title
from shared.driver_statements import fetch
from shared.loops import wake_after_commit
from shared.sealed_contacts import OpenedContact

LOCKS = 1_024
"""Number of advisory locks; a user takes the one with the number `id % LOCKS`. Also the most that one transaction can
take: PostgreSQL's table of locks holds some thousands. With fewer, more transactions wait for each other."""


class KnownRecipient(NamedTuple):
    """A known recipient, as a mail needs it."""

    email: str
    name: str
    locale: str
    email_verified: bool


async def replace_recipients(session: AsyncSession, recipients: Mapping[UUID, OpenedContact]) -> None:
    """Replace or insert recipients, and queue the mails that were deferred until their addresses are verified.

    A recipient that a later event has written stays as it is. Repeatable.
    """
    user_ids = sorted(recipients)
    known = await recipients_of(session, user_ids)
    changed = [
        user_id
        for user_id in user_ids
        if user_id not in known or (recipients[user_id].email_verified and not known[user_id].email_verified)
    ]
    if changed:
        # Waits for transactions that are deferring a mail to these users, which are invisible here: see `notify_all`.
        # A recipient with a verified address needs no lock: nothing was deferred since it was verified.
        await session.execute(statements.LOCK, {"locks": locks_of(changed)})
    given = [recipients[user_id] for user_id in user_ids]
    await session.execute(
        statements.REPLACE_RECIPIENTS,
        {
            "user_ids": user_ids,
            "emails": [recipient.contact.email for recipient in given],
            "names": [recipient.contact.name for recipient in given],
            "locales": [recipient.locale for recipient in given],
            "time_zones": [recipient.time_zone for recipient in given],
            "email_verified": [recipient.email_verified for recipient in given],
            "sequences": [recipient.sequence for recipient in given],
        },
    )
    if changed:
        await _release_deferred(session, {user_id: recipients[user_id] for user_id in changed})


async def recipients_of(session: AsyncSession, user_ids: Collection[UUID]) -> dict[UUID, KnownRecipient]:
    """Return those recipients that are known."""
    rows = await fetch(session, statements.RECIPIENTS_OF, {"user_ids": list(user_ids)})
    return {
        row["user_id"]: KnownRecipient(row["email"], row["name"], row["locale"], row["email_verified"]) for row in rows
    }


def locks_of(user_ids: Collection[UUID]) -> list[int]:
    """Return the locks of users, in the order in which every transaction takes them: else two could deadlock."""
    return sorted({user_id.int % LOCKS for user_id in user_ids})


async def _release_deferred(session: AsyncSession, recipients: Mapping[UUID, OpenedContact]) -> None:
    """Render the titles of deferred mails in the recipients' languages; make those to verified addresses due."""
    deferred = (await session.execute(statements.LOCK_DEFERRED, {"user_ids": list(recipients)})).all()
    if not deferred:
        return
    is_due = [recipients[row.user_id].email_verified for row in deferred]
    parameters = {
        "notification_ids": [row.notification_id for row in deferred],
        # The titles may have been rendered while the locales were unknown.
        "titles": [
            render_title(row.event_type, locale=recipients[row.user_id].locale, data=row.data) for row in deferred
        ],
        "is_due": is_due,
    }
    await session.execute(statements.RELEASE_DEFERRED, parameters)
    if any(is_due):
        wake_after_commit(session, WORKER)
