"""An SMTP server in the test's event loop. Tests script its replies, and stop and restart it."""

import asyncio
import ssl
from collections import deque
from email import message_from_string, policy
from email.message import EmailMessage
from typing import Any, Self

from aiosmtpd.smtp import SMTP, Envelope, Session

OK = "250 OK"


class SmtpServer:
    """Accepts mail on a free port. Each scripted reply is used once; without any the reply is OK.

    If a reply is None, the server closes the connection instead; a mail has been accepted then. At addresses of
    `hangs_for` it never replies, and those of `replies_for` always get the same reply.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None, **options: Any) -> None:
        """Make a server. `tls` encrypts each connection from its start; `options` are those of aiosmtpd's SMTP."""
        self._tls = tls
        self._options = options
        self.port = 0
        self.mails: list[EmailMessage] = []
        self.connections = 0
        self.accepts_utf8 = True
        self.hangs_for: set[str] = set()
        self.replies_for: dict[str, str] = {}
        self.replies: dict[str, deque[str | None]] = {"MAIL": deque(), "RCPT": deque(), "DATA": deque()}
        self.has_received = asyncio.Event()
        """Set once the server has received a message, to which it may not have replied yet."""
        self.replying = asyncio.Event()
        self.replying.set()
        self._server: asyncio.Server | None = None
        self._transports: list[asyncio.BaseTransport] = []

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        """Open it for a block."""
        await self.open()
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Close it."""
        await self.close()

    async def open(self) -> None:
        """Listen; after a restart, on the same port as before."""
        self._server = await asyncio.get_running_loop().create_server(
            self._protocol, "127.0.0.1", self.port, ssl=self._tls
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening, and close every connection."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        self.close_connections()

    def close_connections(self) -> None:
        """Close every connection, and go on listening."""
        for transport in self._transports:
            transport.close()
        self._transports.clear()

    async def handle_MAIL(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        reply = self._reply_to("MAIL")
        if reply == OK:
            envelope.mail_from = address
        return reply

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if address in self.hangs_for:
            await asyncio.Event().wait()
        reply = self.replies_for.get(address) or self._reply_to("RCPT")
        if reply == OK:
            envelope.rcpt_tos.append(address)
        return reply

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.has_received.set()
        await self.replying.wait()
        reply = self._next_reply("DATA")
        if reply in {OK, None}:
            assert isinstance(envelope.content, bytes)
            mail = message_from_string(envelope.content.decode(), policy=policy.default)
            assert isinstance(mail, EmailMessage)
            self.mails.append(mail)
        return reply or self._hang_up()

    def _reply_to(self, step: str) -> str:
        return self._next_reply(step) or self._hang_up()

    def _next_reply(self, step: str) -> str | None:
        return self.replies[step].popleft() if self.replies[step] else OK

    def _hang_up(self) -> str:
        self.close_connections()
        return "421 Closed"

    def _protocol(self) -> SMTP:
        server = self

        class Connection(SMTP):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                server.connections += 1
                server._transports.append(transport)
                super().connection_made(transport)

        return Connection(self, enable_SMTPUTF8=self.accepts_utf8, **self._options)


def body_of(mail: EmailMessage, kind: str) -> str:
    """Return the part of a mail of this kind: plain or html."""
    body = mail.get_body((kind,))
    assert body is not None
    content: str = body.get_content()
    return content
