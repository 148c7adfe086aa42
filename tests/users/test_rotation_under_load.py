"""Rotating the signing key refuses no request, and withdrawing a stolen one refuses its tokens within seconds."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

from fastapi import FastAPI

from services.users.app import create_app
from services.users.models.accounts import UserAccount
from services.users.settings import Settings
from shared.http.revocations import RevocationList
from shared.http.tokens import TokenInvalid, TokenVerifier
from shared.http.users_client import UsersClient
from tests.harness.asgi import served
from tests.harness.waiting import until
from tests.users.service import UsersService
from tests.users.signing_keys import kid_of, rotated, states, withdrawn

KEY_AGE = timedelta(seconds=0.3)
"""Other services keep the key set for this long; in production, for five minutes."""
OVERLAP = timedelta(seconds=2)
"""More than KEY_AGE and the second for which a process of the users service keeps the keys."""


@asynccontextmanager
async def other_service(urls: list[str]) -> AsyncIterator[TokenVerifier]:
    """Verify tokens as the other services do."""
    client = UsersClient(",".join(urls), token="the token of orders")
    verifier = TokenVerifier(
        client.key_set, issuer="orderly", revocations=RevocationList(client.revocations), max_key_age=KEY_AGE
    )
    yield verifier
    await verifier.close()
    await client.close()


@asynccontextmanager
async def two_processes(service: UsersService, settings: Settings) -> AsyncIterator[list[FastAPI]]:
    other = create_app(settings)
    yield [service.app, other]
    await other.state.sessions.kw["bind"].dispose()
    await other.state.cache.close()


async def token_of(app: FastAPI, account: UserAccount) -> str:
    token, _ = await app.state.access_tokens.issue(account, session_id=account.id)
    return str(token)


async def test_no_token_is_refused_during_a_rotation(service: UsersService, settings: Settings) -> None:
    account = await service.create_account()
    keys, verified = set(), 0
    async with AsyncExitStack() as stack:
        apps = await stack.enter_async_context(two_processes(service, settings))
        urls = [await stack.enter_async_context(served(app)) for app in apps]
        # Each asks one process first, so that none is told of the new key by the process that signs with it.
        verifiers = [await stack.enter_async_context(other_service(each)) for each in (urls, urls[::-1])]
        rotation = await rotated(service, overlap=OVERLAP)
        ends_at = time.monotonic() + OVERLAP.total_seconds() + 1.5
        while time.monotonic() < ends_at:
            for app in apps:
                token = await token_of(app, account)
                keys.add(kid_of(token))
                for verifier in verifiers:
                    assert (await verifier.verify(token)).user_id == account.id
                    verified += 1
            await asyncio.sleep(0.03)

    assert rotation.kid in keys
    assert len(keys) == 2
    assert verified > 100


async def test_tokens_of_a_withdrawn_key_are_refused_within_seconds(service: UsersService) -> None:
    account = await service.create_account()
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(served(service.app))
        elsewhere = await stack.enter_async_context(other_service([url]))
        own: TokenVerifier = service.app.state.token_verifier
        stolen = await token_of(service.app, account)
        for verifier in (own, elsewhere):
            await verifier.verify(stolen)
        [kid] = await states(service)
        await withdrawn(service, kid)
        withdrawn_at = time.monotonic()

        refused_after: dict[str, float] = {}
        while len(refused_after) < 2:
            for name, verifier in {"own": own, "elsewhere": elsewhere}.items():
                try:
                    await verifier.verify(stolen)
                except TokenInvalid:
                    refused_after.setdefault(name, time.monotonic() - withdrawn_at)
            assert time.monotonic() < withdrawn_at + 10
            await asyncio.sleep(0.02)

        assert max(refused_after.values()) < 4

        async def is_replaced() -> bool:
            fresh = await token_of(service.app, account)
            try:
                return kid_of(fresh) != kid and (await elsewhere.verify(fresh)).user_id == account.id
            except TokenInvalid:
                return False

        await until(is_replaced, seconds=4, what="another key signs, and the other service knows it")
