"""Virtual authenticators of Chromium, which hold passkeys."""

from typing import Any

from playwright.async_api import Page


class VirtualAuthenticator:
    """An authenticator inside of the browser that verifies its user at once. Source: the WebAuthn domain of CDP."""

    def __init__(self, session: Any, authenticator_id: str) -> None:
        self._session = session
        self._id = {"authenticatorId": authenticator_id}

    async def credentials(self) -> list[dict[str, Any]]:
        """Return the credentials with their private keys."""
        answer = await self._session.send("WebAuthn.getCredentials", self._id)
        credentials: list[dict[str, Any]] = answer["credentials"]
        return credentials

    async def replace(self, credential: dict[str, Any]) -> None:
        """Put a changed copy in the place of a credential."""
        identified = {**self._id, "credentialId": credential["credentialId"]}
        await self._session.send("WebAuthn.removeCredential", identified)
        await self._session.send("WebAuthn.addCredential", {**self._id, "credential": credential})

    async def verify_user(self, *, succeeds: bool) -> None:
        """Let the PIN or the fingerprint be right or wrong from now on."""
        await self._session.send("WebAuthn.setUserVerified", {**self._id, "isUserVerified": succeeds})


async def virtual_authenticator(page: Page) -> VirtualAuthenticator:
    """Add a platform authenticator, such as a phone's, to a page."""
    session = await page.context.new_cdp_session(page)
    await session.send("WebAuthn.enable", {"enableUI": False})
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    added = await session.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    return VirtualAuthenticator(session, added["authenticatorId"])
