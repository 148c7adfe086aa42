"""The internal routes: keys of personal data."""

from base64 import urlsafe_b64encode
from typing import Annotated

import structlog
from fastapi import APIRouter, Depends, Response

from services.users.internal import queries
from services.users.internal.schemas import PersonalKeysQuery, PersonalKeysView
from shared.http.auth import calling_service
from shared.http.dependencies import SessionsDep

logger = structlog.get_logger(__name__)
router = APIRouter(prefix="/internal", include_in_schema=False)


@router.post("/personal-keys", response_model=PersonalKeysView)
async def read_personal_keys(
    body: PersonalKeysQuery,
    *,
    response: Response,
    sessions: SessionsDep,
    caller: Annotated[str, Depends(calling_service)],
) -> PersonalKeysView:
    """Return the keys with which the personal data of these users are sealed in events."""
    async with sessions() as session:
        keys = await queries.personal_keys_of(session, body.user_ids)
    logger.info("personal_keys_read", calling_service=caller, users=len(body.user_ids), keys=len(keys))
    response.headers["Cache-Control"] = "no-store"
    return PersonalKeysView(keys={user_id: urlsafe_b64encode(key).decode() for user_id, key in keys.items()})
