"""The check that a change comes from the console's own pages or a program, and not from a page of another site."""

from urllib.parse import urlsplit

from fastapi import Depends, Request

from shared.errors import Forbidden

_CHANGES_NOTHING = {"GET", "HEAD"}
_OF_THE_PAGE_ITSELF = {"same-origin", "none"}
"""Values of Sec-Fetch-Site; `none` is a request of the user, such as a reload."""


class ForeignOrigin(Forbidden):
    """The request was sent by a page of another site."""

    code = "foreign_origin"


async def same_origin(request: Request) -> None:
    """Check the origin of a change. Browsers name it; programs, which hold no user's cookies, do not.

    Raises: ForeignOrigin.
    """
    if request.method in _CHANGES_NOTHING:
        return
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        is_own = site in _OF_THE_PAGE_ITSELF
    else:
        is_own = origin is None or urlsplit(origin).netloc == request.headers.get("host")
    if not is_own:
        raise ForeignOrigin


SAME_ORIGIN = Depends(same_origin)
"""An item of the application's dependencies."""
