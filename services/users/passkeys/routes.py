"""Routes of a user's own passkeys."""

from uuid import UUID

import structlog
from fastapi import APIRouter, Request, Response

from services.users.authentication.commands import LastWayIn
from services.users.authentication.dependencies import RECENTLY_AUTHENTICATED, STEP_UP_PROBLEMS, CurrentSession
from services.users.passkeys import commands, queries
from services.users.passkeys.commands import PasskeyExists, RegistrationInvalid, TooManyPasskeys
from services.users.passkeys.dependencies import OwnPasskeyPermit, RelyingPartyDep
from services.users.passkeys.queries import PasskeyNotFound
from services.users.passkeys.schemas import (
    CreationOptionsView,
    NewPasskey,
    PasskeyChanges,
    PasskeyView,
    RegisteredPasskeyView,
)
from services.users.security_record.commands import origin_of
from shared.http.auth import Caller
from shared.http.dependencies import SessionsDep
from shared.http.pagination import Page, PageParams, page_of
from shared.http.problems import responses

logger = structlog.get_logger(__name__)
router = APIRouter(prefix="/v1/users/me/passkeys", tags=["second factors"])


@router.post(
    "/options",
    summary="Get the options to register a passkey",
    dependencies=[RECENTLY_AUTHENTICATED],
    responses=responses(*STEP_UP_PROBLEMS, TooManyPasskeys),
)
async def create_passkey_options(
    caller: Caller, party: RelyingPartyDep, sessions: SessionsDep, response: Response
) -> CreationOptionsView:
    """Return the options for `navigator.credentials.create()`, with a challenge that works once.

    They require a discoverable credential and user verification, so that the passkey can sign in by itself.
    """
    async with sessions.begin() as session:
        options = await commands.creation_options(session, party=party, user_id=caller.user_id)
    response.headers["Cache-Control"] = "no-store"
    return CreationOptionsView(public_key=options)


@router.post(
    "",
    status_code=201,
    summary="Register a passkey",
    dependencies=[RECENTLY_AUTHENTICATED],
    responses=responses(*STEP_UP_PROBLEMS, RegistrationInvalid, PasskeyExists, TooManyPasskeys),
)
async def register_passkey(
    body: NewPasskey,
    *,
    caller: Caller,
    session_id: CurrentSession,
    party: RelyingPartyDep,
    sessions: SessionsDep,
    request: Request,
    response: Response,
) -> RegisteredPasskeyView:
    """Store the passkey that the browser created. From now on your password alone does not sign in.

    There is no Idempotency-Key, because the saved response would store recovery codes: if the response is lost, list
    your passkeys, and replace the recovery codes.
    """
    async with sessions.begin() as session:
        registered = await commands.register_passkey(
            session,
            party=party,
            user_id=caller.user_id,
            session_id=session_id,
            credential=body.credential.json_object(),
            name=body.name,
            origin=origin_of(request),
        )
        view = RegisteredPasskeyView.model_validate(registered)
    logger.info("passkey_registered", user_id=str(caller.user_id), passkey_id=str(view.passkey.id))
    response.headers["Cache-Control"] = "no-store"
    response.headers["Location"] = f"/v1/users/me/passkeys/{view.passkey.id}"
    return view


@router.get("", summary="List your passkeys")
async def list_own_passkeys(
    request: Request, caller: Caller, sessions: SessionsDep, params: PageParams
) -> Page[PasskeyView]:
    """Return your passkeys, newest first."""
    async with sessions() as session:
        query = queries.passkeys_of(caller.user_id)
        return await page_of(session, query, request=request, params=params, map=PasskeyView.model_validate)


@router.get("/{passkey_id}", summary="Read one of your passkeys", responses=responses(PasskeyNotFound))
async def read_own_passkey(passkey_id: UUID, permit: OwnPasskeyPermit, sessions: SessionsDep) -> PasskeyView:
    """Return one of your passkeys."""
    async with sessions() as session:
        passkey = await queries.passkey_of(session, passkey_id=passkey_id, permit=permit)
        return PasskeyView.model_validate(passkey)


@router.patch("/{passkey_id}", summary="Rename one of your passkeys", responses=responses(PasskeyNotFound))
async def rename_own_passkey(
    passkey_id: UUID, body: PasskeyChanges, permit: OwnPasskeyPermit, sessions: SessionsDep
) -> PasskeyView:
    """Set the name, the only thing about a passkey that can change. The last of two changes wins."""
    async with sessions.begin() as session:
        passkey = await commands.rename_passkey(session, passkey_id=passkey_id, permit=permit, name=body.name)
    return PasskeyView.model_validate(passkey)


@router.delete(
    "/{passkey_id}",
    status_code=204,
    summary="Remove one of your passkeys",
    dependencies=[RECENTLY_AUTHENTICATED],
    responses=responses(*STEP_UP_PROBLEMS, PasskeyNotFound, LastWayIn),
)
async def remove_own_passkey(
    passkey_id: UUID, permit: OwnPasskeyPermit, sessions: SessionsDep, request: Request
) -> None:
    """Remove a passkey, such as that of a lost device. With the last second factor the recovery codes go too."""
    async with sessions.begin() as session:
        await commands.remove_passkey(session, passkey_id=passkey_id, permit=permit, origin=origin_of(request))
    logger.info("passkey_removed", user_id=str(permit.user_id), passkey_id=str(passkey_id))
