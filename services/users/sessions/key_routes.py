"""The route of the public keys that verify access tokens, and the internal one of what has been revoked."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from services.users.dependencies import SettingsDep
from services.users.sessions import queries
from services.users.sessions.dependencies import AccessTokensDep
from services.users.sessions.schemas import PublicKeysView, RevocationsView, RevokedSessionView
from shared.http.auth import calling_service, public
from shared.http.dependencies import SessionsDep
from shared.http.problems import DatabaseUnavailable, responses
from shared.http.spellings import Instant

router = APIRouter(tags=["keys"])


@router.get(
    "/.well-known/jwks.json",
    summary="Read the public keys",
    dependencies=[Depends(public)],
    responses=responses(DatabaseUnavailable),
)
async def read_public_keys(access_tokens: AccessTokensDep, response: Response) -> PublicKeysView:
    """Return every key that may have signed a valid access token, as a JWK Set."""
    response.headers["Cache-Control"] = "public, max-age=300"
    keys = await access_tokens.keys.published_keys()
    return PublicKeysView.model_validate({"keys": [key.as_dict(private=False) for key in keys]})


@router.get("/internal/revoked-sessions", include_in_schema=False, dependencies=[Depends(calling_service)])
async def read_revocations(
    sessions: SessionsDep, settings: SettingsDep, since: Annotated[Instant | None, Query()] = None
) -> RevocationsView:
    """Return the sessions revoked since a time whose access tokens may not have expired. For other services."""
    async with sessions() as session:
        found = await queries.revocations_since(session, since=since, tokens_valid_for=settings.tokens_valid_for)
    return RevocationsView(
        as_of=found.as_of,
        sessions=[RevokedSessionView(id=id_, expires_at=expires_at) for id_, expires_at in found.sessions.items()],
        withdrawn_keys=sorted(found.withdrawn_keys),
    )
