"""A mail server for a laptop: takes every mail, delivers none, and shows them on a page and by a JSON API."""

import argparse
import asyncio
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from itertools import count, islice
from pathlib import Path

import uvicorn
from aiosmtpd.smtp import SMTP, Envelope, Session
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route

KEPT_MESSAGES = 5_000
MAX_MESSAGE_BYTES = 10 * 1024 * 1024
PAGE = Path(__file__).with_name("mail_catcher.html")
# A mail's own scripts, forms and remote images stay off; its links open in a new tab.
SANDBOX = (
    "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
)


@dataclass(frozen=True, kw_only=True)
class Mail:
    """One mail as it was received. The whole of it is kept compressed: thousands fit into a few megabytes."""

    id: int
    received_at: datetime
    sender: str
    recipients: tuple[str, ...]
    subject: str
    message_id: str
    compressed: bytes

    def summary(self) -> dict[str, object]:
        """What a list shows."""
        return {
            "id": str(self.id),
            "received_at": self.received_at.isoformat(),
            "from": self.sender,
            "to": list(self.recipients),
            "subject": self.subject,
            "message_id": self.message_id,
        }

    def parsed(self) -> EmailMessage:
        """The mail with its headers and parts."""
        return message_from_bytes(zlib.decompress(self.compressed), policy=default)

    def part(self, subtype: str) -> str | None:
        """Its text as `plain` or `html`."""
        body = self.parsed().get_body((subtype,))
        return None if body is None else str(body.get_content()).replace("\r\n", "\n")


class Mailbox:
    """The latest mails, newest first. Implements aiosmtpd's handler."""

    def __init__(self) -> None:
        self._mails: dict[int, Mail] = {}
        self._ids = count(1)

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Called by aiosmtpd for each mail."""
        raw = envelope.original_content or b""
        headers = message_from_bytes(raw, policy=default)
        mail = Mail(
            id=next(self._ids),
            received_at=datetime.now(UTC),
            sender=envelope.mail_from or "",
            recipients=tuple(envelope.rcpt_tos),
            subject=str(headers["Subject"] or ""),
            message_id=str(headers["Message-ID"] or ""),
            compressed=zlib.compress(raw),
        )
        self._mails[mail.id] = mail
        if len(self._mails) > KEPT_MESSAGES:
            del self._mails[next(iter(self._mails))]
        return "250 OK"

    def get(self, mail_id: int) -> Mail | None:
        """One mail, if it is still kept."""
        return self._mails.get(mail_id)

    def matching(self, wanted: Mapping[str, str]) -> Iterator[Mail]:
        """Newest first; `to`, `subject` and `q` (either of them) match a part of the text in any case."""
        to, subject, either = (wanted.get(name, "").casefold() for name in ("to", "subject", "q"))
        for mail in reversed(list(self._mails.values())):
            mail_to, mail_subject = " ".join(mail.recipients).casefold(), mail.subject.casefold()
            if to in mail_to and subject in mail_subject and (either in mail_to or either in mail_subject):
                yield mail

    def clear(self) -> None:
        """Forget all."""
        self._mails.clear()


def create_app(mailbox: Mailbox, *, host: str, smtp_port: int) -> Starlette:
    """Page and API; its lifespan is the SMTP server's."""

    @asynccontextmanager
    async def receive(_app: Starlette) -> AsyncIterator[None]:
        def protocol() -> SMTP:
            return SMTP(mailbox, enable_SMTPUTF8=True, data_size_limit=MAX_MESSAGE_BYTES, ident="Orderly mail catcher")

        server = await asyncio.get_running_loop().create_server(protocol, host, smtp_port)
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
    mail = _mailbox(request).get(request.path_params["mail_id"])
    if mail is None:
        return _not_found()
    headers = [[name, str(value)] for name, value in mail.parsed().items()]
    return JSONResponse(
        {**mail.summary(), "headers": headers, "text": mail.part("plain"), "html": mail.part("html")},
    )


async def _show_html(request: Request) -> Response:
    mail = _mailbox(request).get(request.path_params["mail_id"])
    html = None if mail is None else mail.part("html")
    if html is None:
        return _not_found()
    return HTMLResponse(f'<base target="_blank">{html}', headers={"Content-Security-Policy": SANDBOX})


async def _clear(request: Request) -> Response:
    _mailbox(request).clear()
    return Response(status_code=204)


def _mailbox(request: Request) -> Mailbox:
    mailbox: Mailbox = request.app.state.mailbox
    return mailbox


def _not_found() -> Response:
    return JSONResponse({"detail": "no such message"}, status_code=404)


def main() -> None:
    """`python -m deploy.local.mail_catcher --smtp-port N --http-port N`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--smtp-port", type=int, default=8026)
    parser.add_argument("--http-port", type=int, default=8025)
    options = parser.parse_args()
    app = create_app(Mailbox(), host=options.host, smtp_port=options.smtp_port)
    uvicorn.run(app, host=options.host, port=options.http_port, log_level="warning", timeout_graceful_shutdown=2)


if __name__ == "__main__":
    main()
