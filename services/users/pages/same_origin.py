"""The check that a form was sent by one of the service's own pages, and not by a page of another site.

Cookies with SameSite=Strict are not enough: a sign-in needs no cookie, and a page of another subdomain is of the same
site.
"""

from urllib.parse import urlsplit

from fastapi import Depends, Request

from services.users.dependencies import SettingsDep
from shared.errors import Forbidden

_CHANGES_NOTHING = {"GET", "HEAD"}
_OF_THE_PAGE_ITSELF = {"same-origin", "none"}
"""Values of Sec-Fetch-Site; `none` is a request of the user, such as a reload."""


class ForeignOrigin(Forbidden):
    """The form was sent by a page of another site."""

    code = "foreign_origin"


async def same_origin(request: Request, settings: SettingsDep) -> None:
    """Check the origin of a form. Raises: ForeignOrigin.

    Browsers tell it by Sec-Fetch-Site, and without TLS by Origin. A program that sends neither has no user's cookies.
    """
    if request.method in _CHANGES_NOTHING:
        return
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        is_own = site in _OF_THE_PAGE_ITSELF
    elif origin is not None:
        # The gateway passes the Host header on, but a proxy before it may not: the settings name the public origins.
        is_own = origin in settings.webauthn_origins or urlsplit(origin).netloc == request.headers.get("host")
    else:
        is_own = True
    if not is_own:
        raise ForeignOrigin


SAME_ORIGIN = Depends(same_origin)
"""An item of the `dependencies` of a router of pages."""
