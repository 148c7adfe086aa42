"""Documentation pages: `/docs` for the HTTP API and `/asyncapi` for the events. Both work without internet access."""

import json
from collections.abc import Callable, Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import FileResponse, HTMLResponse, Response

from shared.errors import NotFound
from shared.http.asyncapi_page import asyncapi_page
from shared.http.auth import bearer, public

# Only the static files of this package are used: the page of FastAPI itself loads them from a CDN.
_ASSETS = Path(str(files("fastapi_offline"))) / "static"
_ASSET_NAMES = {"swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"}
TOKEN_PATH = "/v1/oauth/token"  # noqa: S105 - a path
_OAUTH_SCHEME = "oauth2"
_CACHE_CONTROL = "public, max-age=86400"


def openapi_router(app: FastAPI) -> APIRouter:
    """Return a router with `/docs`: Swagger UI for the application's OpenAPI document."""
    router = APIRouter(prefix="/docs", include_in_schema=False, dependencies=[Depends(public)])

    @router.get("")
    async def page() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title=app.title,
            swagger_js_url="docs/swagger-ui-bundle.js",
            swagger_css_url="docs/swagger-ui.css",
            swagger_favicon_url="docs/favicon.png",
            swagger_ui_parameters={"validatorUrl": None},  # by default Swagger UI sends the document to swagger.io
        )

    @router.get("/{name}")
    async def asset(name: str) -> FileResponse:
        if name not in _ASSET_NAMES:
            raise NotFound
        return FileResponse(_ASSETS / name, headers={"Cache-Control": _CACHE_CONTROL})

    return router


def offer_password_grant(app: FastAPI) -> None:
    """Let Swagger UI's Authorize button sign in, if the application has the token endpoint.

    Every route that takes an access token then names two schemes, either of which provides it: `oauth2`, by which the
    button gets one for an e-mail address and a password, and the plain one, for a token that the user already has.
    """
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        if TOKEN_PATH in document["paths"]:
            # Relative to the document: it works behind a gateway that adds a prefix, and without one.
            url = TOKEN_PATH.removeprefix("/")
            flow = {"tokenUrl": url, "refreshUrl": url, "scopes": {}}
            schemes = document["components"]["securitySchemes"]
            schemes[_OAUTH_SCHEME] = {"type": "oauth2", "flows": {"password": flow}}
            for operation in _operations_of(document):
                if operation.get("security") == [{bearer.scheme_name: []}]:
                    operation["security"] = [{bearer.scheme_name: []}, {_OAUTH_SCHEME: []}]
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to extend the document


def _operations_of(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for operations in document["paths"].values():
        yield from operations.values()


def asyncapi_router(make_document: Callable[[], dict[str, Any]]) -> APIRouter:
    """Return a router with `/asyncapi.json` and `/asyncapi`.

    The document is generated on the first request: most processes never serve it.
    """
    router = APIRouter(include_in_schema=False, dependencies=[Depends(public)])
    document = cache(make_document)

    @router.get("/asyncapi.json")
    async def asyncapi_json() -> Response:
        return Response(json.dumps(document()), media_type="application/json")

    @router.get("/asyncapi")
    async def asyncapi_html() -> HTMLResponse:
        return HTMLResponse(asyncapi_page(document()))

    return router
