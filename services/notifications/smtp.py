"""A few lasting connections to one SMTP server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from urllib.parse import parse_qs, unquote, urlsplit

import aiosmtplib
from aiosmtplib import errors

from services.notifications.channels import Undelivered

CONNECTIONS = 4
STEP_TIMEOUT_SECONDS = 10.0
WHOLE_TIMEOUT_SECONDS = 20.0


class Smtp:
    """Sends through connections that are reused, checked before each use, and replaced when they fail.

    `url`: smtp://[user:password@]host:port[?starttls=1]. `local_hostname` is what it greets the server with.
    """

    def __init__(self, url: str, *, local_hostname: str) -> None:
        self._url = urlsplit(url)
        self._local_hostname = local_hostname
        self._free = asyncio.Semaphore(CONNECTIONS)
        self._idle: list[aiosmtplib.SMTP] = []

    async def send(self, message: EmailMessage, *, sender: str, recipient: str) -> None:
        """Raises: Undelivered."""
        try:
            async with self._connection() as connection, asyncio.timeout(WHOLE_TIMEOUT_SECONDS):
                await connection.send_message(message, sender=sender, recipients=[recipient])
        except errors.SMTPRecipientsRefused as refused:
            code = refused.recipients[0].code
            raise Undelivered("recipient_refused", is_final=_is_final(code)) from refused
        except errors.SMTPDataError as refused:
            raise Undelivered("message_refused", is_final=_is_final(refused.code)) from refused
        except errors.SMTPNotSupported as unsupported:
            raise Undelivered("address_unsupported", is_final=True) from unsupported
        except TimeoutError as late:
            raise Undelivered("timed_out") from late
        except errors.SMTPConnectError as unreachable:
            raise Undelivered("unreachable") from unreachable
        except (errors.SMTPException, OSError) as error:
            # Refused log-ins and senders too: those are ours to mend, and the mail is none the worse for waiting.
            raise Undelivered("provider_failed") from error

    async def ping(self) -> None:
        """Raises when the server does not answer. Takes a connection of its own: those in use may be slow."""
        connection = await self._connect()
        try:
            await connection.noop()
            await connection.quit()
        finally:
            connection.close()

    async def close(self) -> None:
        """Take leave of the server."""
        while self._idle:
            connection = self._idle.pop()
            try:
                await connection.quit(timeout=1)
            except (errors.SMTPException, OSError):
                connection.close()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[aiosmtplib.SMTP]:
        async with self._free:
            async with asyncio.timeout(WHOLE_TIMEOUT_SECONDS):
                connection = await self._reused() or await self._connect()
            try:
                yield connection
            except (errors.SMTPResponseException, errors.SMTPRecipientsRefused):
                # The server answered: the connection is whole.
                self._idle.append(connection)
                raise
            except BaseException:
                connection.close()
                raise
            self._idle.append(connection)

    async def _reused(self) -> aiosmtplib.SMTP | None:
        """An idle connection that the server still answers on: it may have closed it, or been restarted."""
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
            timeout=STEP_TIMEOUT_SECONDS,
            start_tls=options.get("starttls") == ["1"],
        )
        try:
            await connection.connect()
        except BaseException:
            connection.close()
            raise
        return connection


def _is_final(code: int) -> bool:
    """5xx is for good, 4xx for now (RFC 5321, 4.2.1)."""
    return code >= 500
