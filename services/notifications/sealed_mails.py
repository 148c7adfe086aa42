"""Sealed mails: their address and one-time token are stored encrypted, and opened for each attempt."""

from dataclasses import replace
from datetime import UTC, datetime

from services.notifications.channels import Attempt, SendFailed
from shared.events.users import AccountMail
from shared.personal_data import SealedDataInvalid, unseal
from shared.personal_keys import PersonalKeys, PersonalKeysUnavailable


async def opened(attempt: Attempt, *, keys: PersonalKeys) -> Attempt:
    """Return the attempt of a sealed mail with its address, and its token among the template's data.

    Never log or store the result. Raises: SendFailed.
    """
    if attempt.expires_at is not None and attempt.expires_at <= datetime.now(UTC):
        raise SendFailed("expired", is_final=True)
    mail = await _open(attempt, keys)
    data = {**attempt.data, "token": mail.token}
    if attempt.expires_at is not None:
        data["expires_at"] = attempt.expires_at.isoformat()
    # Without the name: whoever has typed the address may have typed the name, too.
    return replace(attempt, email=mail.email, name="", data=data)


async def _open(attempt: Attempt, keys: PersonalKeys) -> AccountMail:
    try:
        key = (await keys.of([attempt.user_id])).get(attempt.user_id)
    except PersonalKeysUnavailable:
        raise SendFailed("keys_unavailable") from None
    if key is None:
        raise SendFailed("recipient_erased", is_final=True)
    try:
        return unseal(attempt.sealed or "", key=key, model=AccountMail)
    except SealedDataInvalid:
        raise SendFailed("sealed_data_invalid", is_final=True) from None
