"""Entity tags: a resource's version as its ETag, and the version that a change expects as If-Match."""

import re
from typing import Annotated

from fastapi import Depends, Header

from shared.errors import PreconditionFailed, PreconditionRequired

_VERSION_TAG = re.compile(r'"(\d{1,18})"')


def etag_of(version: int) -> str:
    """Return a strong ETag for a version."""
    return f'"{version}"'


async def expected_version(
    if_match: Annotated[
        str | None,
        Header(
            description="The ETag of the version that you last read. The request fails if it is outdated.",
            examples=['"3"'],
        ),
    ] = None,
) -> int:
    """Return the version in the If-Match header. Raises: PreconditionRequired, PreconditionFailed."""
    if if_match is None:
        raise PreconditionRequired("Send If-Match with the ETag of the version that you read.")
    # Weak tags never match If-Match (RFC 9110, section 13.1.1); tags of another form were never sent by this API.
    match = _VERSION_TAG.fullmatch(if_match.strip())
    if match is None:
        raise PreconditionFailed("If-Match must contain exactly one ETag, as it was received.")
    return int(match[1])


IfMatch = Annotated[int, Depends(expected_version)]
