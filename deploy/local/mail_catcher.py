"""A mail server for a laptop: takes every mail, delivers none, and shows them on a page and by a JSON API."""

import argparse
import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from itertools import islice
from pathlib import Path

import uvicorn
from aiosmtpd.smtp import SMTP
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from deploy.local.mailbox import Mailbox, text_of

HOST = "127.0.0.1"
MAX_MESSAGE_BYTES = 10 * 1024 * 1024
"""The largest mail that SMTP accepts."""
PAGE = Path(__file__).with_name("mail_catcher.html")
# A mail's own scripts, forms and remote images stay off; its links open in a new tab.
SANDBOX = (
    "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
)


def create_app(mailbox: Mailbox, *, smtp_port: int) -> Starlette:
    """Build the page and the API; the SMTP server runs during their lifespan."""

    @asynccontextmanager
    async def receive(_app: Starlette) -> AsyncIterator[None]:
        def protocol() -> SMTP:
            return SMTP(mailbox, enable_SMTPUTF8=True, data_size_limit=MAX_MESSAGE_BYTES, ident="Orderly mail catcher")

        server = await asyncio.get_running_loop().create_server(protocol, HOST, smtp_port)
        yield
        server.close()

    routes = [
        Route("/", _page),
        Route("/messages/{mail_id:int}/html", _show_html),
        Route("/api/messages", _list, methods=["GET"]),
        Route("/api/messages", _clear, methods=["DELETE"]),
        Route("/api/messages/{mail_id:int}", _show),
        Route("/api/count", _count),
    ]
    app = Starlette(routes=routes, lifespan=receive)
    app.state.mailbox = mailbox
    return app


async def _page(_request: Request) -> Response:
    return FileResponse(PAGE, headers={"Content-Security-Policy": "default-src 'self' 'unsafe-inline'"})


async def _list(request: Request) -> Response:
    try:
        limit, offset = int(request.query_params.get("limit", "100")), int(request.query_params.get("offset", "0"))
    except ValueError:
        return JSONResponse({"detail": "limit and offset are numbers"}, status_code=422)
    found = list(_mailbox(request).matching(request.query_params))
    shown = islice(found, max(offset, 0), max(offset, 0) + max(limit, 0))
    return JSONResponse({"total": len(found), "messages": [mail.summary() for mail in shown]})


async def _count(request: Request) -> Response:
    return JSONResponse({"count": sum(1 for _ in _mailbox(request).matching(request.query_params))})


async def _show(request: Request) -> Response:
    found = _mailbox(request).get(request.path_params["mail_id"])
    if found is None:
        return _not_found()
    mail, content = found
    headers = [[name, text_of(value)] for name, value in content.items()]
    return JSONResponse(
        {**mail.summary(), "headers": headers, "text": _part(content, "plain"), "html": _part(content, "html")},
    )


async def _show_html(request: Request) -> Response:
    found = _mailbox(request).get(request.path_params["mail_id"])
    html = None if found is None else _part(found[1], "html")
    if html is None:
        return _not_found()
    return HTMLResponse(f'<base target="_blank">{html}', headers={"Content-Security-Policy": SANDBOX})


async def _clear(request: Request) -> Response:
    _mailbox(request).clear()
    return Response(status_code=204)


def _mailbox(request: Request) -> Mailbox:
    mailbox: Mailbox = request.app.state.mailbox
    return mailbox


def _part(content: EmailMessage, subtype: str) -> str | None:
    """Return the text of a mail as `plain` or `html`."""
    body = content.get_body((subtype,))
    return None if body is None else str(body.get_content()).replace("\r\n", "\n")


def _not_found() -> Response:
    return JSONResponse({"detail": "no such message"}, status_code=404)


def main() -> None:
    """Run `python -m deploy.local.mail_catcher --folder F --smtp-port N --http-port N`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="folder of the mails")
    parser.add_argument("--smtp-port", type=int, required=True)
    parser.add_argument("--http-port", type=int, required=True)
    options = parser.parse_args()
    logging.basicConfig(format="%(levelname)s: %(message)s")
    app = create_app(Mailbox(options.folder), smtp_port=options.smtp_port)
    uvicorn.run(app, host=HOST, port=options.http_port, log_level="warning", timeout_graceful_shutdown=2)


if __name__ == "__main__":
    main()
