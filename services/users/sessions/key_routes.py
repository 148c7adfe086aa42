"""The route of the public keys that verify access tokens."""

from fastapi import APIRouter, Depends, Response

from services.users.sessions.dependencies import AccessTokensDep
from services.users.sessions.schemas import PublicKeysView
from shared.http.auth import public

router = APIRouter(tags=["keys"])


@router.get("/.well-known/jwks.json", summary="Read the public keys", dependencies=[Depends(public)])
async def read_public_keys(access_tokens: AccessTokensDep, response: Response) -> PublicKeysView:
    """Return every key that may have signed a valid access token, as a JWK Set."""
    response.headers["Cache-Control"] = "public, max-age=300"
    return PublicKeysView.model_validate({"keys": access_tokens.public_keys()})
