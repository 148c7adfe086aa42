"""Entity tags: the version of what is read, and the version that a change expects."""

import re
from typing import Annotated

from fastapi import Depends, Header

from shared.errors import PreconditionFailed, PreconditionRequired

_VERSION_TAG = re.compile(r'"(\d{1,18})"')


def etag_of(version: int) -> str:
    return f'"{version}"'


async def expected_version(
    if_match: Annotated[
        str | None,
        Header(description="The ETag of the version that this request changes.", examples=['"3"']),
    ] = None,
) -> int:
    if if_match is None:
        raise PreconditionRequired("Send If-Match with the ETag that you read.")
    # A weak tag never matches If-Match (RFC 9110, 13.1.1), and what we never gave out matches nothing.
    match = _VERSION_TAG.fullmatch(if_match.strip())
    if match is None:
        raise PreconditionFailed("If-Match must hold one ETag exactly as it was given.")
    return int(match[1])


IfMatch = Annotated[int, Depends(expected_version)]
