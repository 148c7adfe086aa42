"""Dependencies of the routes of administration."""

from typing import Annotated

from fastapi import Depends, Header

from shared.http.etags import expected_version


async def _expected_version_if_any(
    if_match: Annotated[
        str | None, Header(description="If sent, the request changes nothing unless this is the current ETag.")
    ] = None,
) -> int | None:
    return None if if_match is None else await expected_version(if_match)


OptionalIfMatch = Annotated[int | None, Depends(_expected_version_if_any)]
