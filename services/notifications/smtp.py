"""A client of one SMTP server with a small pool of connections."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from urllib.parse import parse_qs, unquote, urlsplit

import aiosmtplib
from aiosmtplib import errors

from services.notifications.channels import SendFailed

MAX_CONNECTIONS = 4
"""Connections of this process; further messages wait for a free one."""
COMMAND_TIMEOUT_SECONDS = 10.0
"""Time for the server's reply to one SMTP command."""
SEND_TIMEOUT_SECONDS = 20.0
"""Time for opening a connection, and again for sending a message."""


class Smtp:
    """Sends messages through pooled connections, which are checked before each use and replaced when they fail.

    `url` has the form smtp://[user:password@]host:port[?starttls=1]. `local_hostname` is sent with EHLO.
    """

    def __init__(self, url: str, *, local_hostname: str) -> None:
        self._url = urlsplit(url)
        self._local_hostname = local_hostname
        self._free = asyncio.Semaphore(MAX_CONNECTIONS)
        self._idle: list[aiosmtplib.SMTP] = []

    async def send(self, message: EmailMessage, *, sender: str, recipient: str) -> None:
        """Send one message. Raises: SendFailed."""
        try:
            async with self._connection() as connection, asyncio.timeout(SEND_TIMEOUT_SECONDS):
                await connection.send_message(message, sender=sender, recipients=[recipient])
        except errors.SMTPRecipientsRefused as refused:
            code = refused.recipients[0].code
            raise SendFailed("recipient_refused", is_final=_is_final(code)) from refused
        except errors.SMTPDataError as refused:
            raise SendFailed("message_refused", is_final=_is_final(refused.code)) from refused
        except errors.SMTPNotSupported as unsupported:
            raise SendFailed("address_unsupported", is_final=True) from unsupported
        except TimeoutError as late:
            raise SendFailed("timed_out") from late
        except errors.SMTPConnectError as unreachable:
            raise SendFailed("unreachable") from unreachable
        except (errors.SMTPException, OSError) as error:
            # Includes a refused login or sender: an operator can correct these, so the mail is tried again.
            raise SendFailed("provider_failed") from error

    async def ping(self) -> None:
        """Check that the server replies. Uses a new connection, because pooled ones may be busy. Raises: any error."""
        connection = await self._connect()
        try:
            await connection.noop()
            await connection.quit()
        finally:
            connection.close()

    async def close(self) -> None:
        """Close the pooled connections."""
        while self._idle:
            connection = self._idle.pop()
            try:
                await connection.quit(timeout=1)
            except (errors.SMTPException, OSError):
                connection.close()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[aiosmtplib.SMTP]:
        async with self._free:
            async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
                connection = await self._reused() or await self._connect()
            try:
                yield connection
            except (errors.SMTPResponseException, errors.SMTPRecipientsRefused):
                # The server replied, so the connection can be reused.
                self._idle.append(connection)
                raise
            except BaseException:
                connection.close()
                raise
            self._idle.append(connection)

    async def _reused(self) -> aiosmtplib.SMTP | None:
        """Return an idle connection on which the server still replies; None if there is none."""
        while self._idle:
            connection = self._idle.pop()
            try:
                await connection.rset()
            except (errors.SMTPException, OSError):
                connection.close()
            except BaseException:
                connection.close()
                raise
            else:
                return connection
        return None

    async def _connect(self) -> aiosmtplib.SMTP:
        options = parse_qs(self._url.query)
        connection = aiosmtplib.SMTP(
            hostname=self._url.hostname,
            port=self._url.port or 25,
            username=unquote(self._url.username) if self._url.username else None,
            password=unquote(self._url.password) if self._url.password else None,
            local_hostname=self._local_hostname,
            timeout=COMMAND_TIMEOUT_SECONDS,
            start_tls=options.get("starttls") == ["1"],
        )
        try:
            await connection.connect()
        except BaseException:
            connection.close()
            raise
        return connection


def _is_final(code: int) -> bool:
    """Return whether the reply is permanent (5xx) and not transient (4xx). Source: RFC 5321, 4.2.1."""
    return code >= 500
