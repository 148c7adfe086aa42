"""Entity tags: a resource's version as its ETag, the versions that a change expects, and reads of what has not changed.

An ETag is `"3"`, or `"3-9f86d081884c"` if the response also shows something that the version does not count, such as a
product's available stock. Reads compare whole tags (If-None-Match); changes compare versions only (If-Match).
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import Annotated

from fastapi import Depends, Header, Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.errors import PreconditionFailed, PreconditionRequired
from shared.preconditions import ANY_VERSION, Precondition

_DIGEST_CHARACTERS = 12
_VERSION_TAG = re.compile(rf'"([0-9]{{1,18}})(?:-[0-9a-f]{{{_DIGEST_CHARACTERS}}})?"')
# RFC 9110, section 8.8.3. A comma separates tags, and may also be in one.
_LISTED_TAG = re.compile(r'[ \t]*(?:((?:W/)?"[\x21\x23-\x7e\x80-\xff]*")[ \t]*)?(?:,|$)')
_DROPPED_WITH_THE_BODY = ("content-length", "content-type")


class _TagsMalformed(Exception):
    pass


def etag_of(version: int, *beside: object) -> str:
    """Return a strong ETag. `beside` is what the response shows in addition to what the version counts."""
    if not beside:
        return f'"{version}"'
    return f'"{version}-{hashlib.sha256(repr(beside).encode()).hexdigest()[:_DIGEST_CHARACTERS]}"'


_EXAMPLES = ['"3"', '"3", "4"', "*"]
_REQUIRED = Header(
    description="The ETag of the version that you last read, a list of ETags, or `*` for any version. The request "
    "fails if the present version is not among them.",
    examples=_EXAMPLES,
)
_OPTIONAL = Header(
    description="If sent, the request changes nothing unless the present ETag is among these; `*` stands for any.",
    examples=_EXAMPLES,
)


async def required_precondition(request: Request, if_match: Annotated[str | None, _REQUIRED] = None) -> Precondition:
    """Return the versions in the If-Match header. Raises: PreconditionRequired, PreconditionFailed."""
    if if_match is None:
        raise PreconditionRequired("Send If-Match with the ETag of the version that you read.")
    return _precondition_of(request.headers)


async def optional_precondition(request: Request, if_match: Annotated[str | None, _OPTIONAL] = None) -> Precondition:
    """Return the versions in the If-Match header; any version without it. Raises: PreconditionFailed."""
    return ANY_VERSION if if_match is None else _precondition_of(request.headers)


IfMatch = Annotated[Precondition, Depends(required_precondition)]
OptionalIfMatch = Annotated[Precondition, Depends(optional_precondition)]


def _precondition_of(headers: Headers) -> Precondition:
    value = _joined(headers, "if-match")
    if value == "*":
        return ANY_VERSION
    try:
        tags = [*_tags_of(value)]
    except _TagsMalformed:
        raise PreconditionFailed("If-Match must be `*` or a list of ETags, as they were received.") from None
    # Weak tags never match If-Match (RFC 9110, section 13.1.1); tags of another form were never sent by this API.
    matches = map(_VERSION_TAG.fullmatch, tags)
    return Precondition(frozenset(int(match[1]) for match in matches if match))


def _joined(headers: Headers, name: str) -> str:
    """Return a header that lists values as one line, even if it was sent as several."""
    return ", ".join(headers.getlist(name)).strip(" \t")


def _tags_of(value: str) -> Iterator[str]:
    """Yield the entity tags of a list, of which at least one is not empty. Raises: _TagsMalformed."""
    position, found = 0, 0
    while position < len(value):
        match = _LISTED_TAG.match(value, position)
        if match is None:
            raise _TagsMalformed
        if match[1]:
            found += 1
            yield match[1]
        position = match.end()
    if not found:
        raise _TagsMalformed


class NotModifiedMiddleware:
    """Responds with 304 and no body if If-None-Match names the ETag of the response to a GET or HEAD."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in {"GET", "HEAD"}:
            await self._app(scope, receive, send)
            return
        known = _joined(Headers(scope=scope), "if-none-match")
        if not known:
            await self._app(scope, receive, send)
            return
        is_unchanged = False

        async def conditional_send(message: Message) -> None:
            nonlocal is_unchanged
            if message["type"] == "http.response.start":
                is_unchanged = message["status"] == 200 and _names(known, Headers(scope=message).get("etag"))
                await send(_not_modified(message) if is_unchanged else message)
            elif not is_unchanged:
                await send(message)
            elif not message.get("more_body"):
                await send({"type": "http.response.body"})

        await self._app(scope, receive, conditional_send)


def _names(known: str, etag: str | None) -> bool:
    """Return whether If-None-Match names the ETag, by the weak comparison. A malformed header names none."""
    if etag is None or known == "*":
        return etag is not None
    try:
        tags: Sequence[str] = [*_tags_of(known)]
    except _TagsMalformed:
        return False
    return etag.removeprefix("W/") in {tag.removeprefix("W/") for tag in tags}


def _not_modified(start: Message) -> Message:
    headers = MutableHeaders(raw=list(start["headers"]))
    for name in _DROPPED_WITH_THE_BODY:
        del headers[name]
    return {**start, "status": 304, "headers": headers.raw}
