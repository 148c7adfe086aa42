"""A client of one SMTP server with a small pool of connections."""

import asyncio

import aiosmtplib
from aiosmtplib import errors
from opentelemetry.trace import Span, SpanKind

from services.notifications.channels import MAX_CONCURRENT_SENDS, SendFailed
from services.notifications.smtp_url import SmtpAddress
from shared.telemetry import span

COMMAND_TIMEOUT_SECONDS = 10.0
"""Time for the server's reply to one SMTP command, except the end of a message: it bounds how long a server that hangs
holds a slot."""
_SERVICE_UNAVAILABLE = 421
"""The server's reply, at any command, before it closes the connection. Source: RFC 5321, 4.2.3."""


class Smtp:
    """Sends messages through pooled connections, which are replaced when they fail.

    `url` is one of `SmtpAddress`. `local_hostname` is sent with EHLO.
    """

    def __init__(self, url: str, *, local_hostname: str) -> None:
        self._address = SmtpAddress.of(url)
        self._tls_context = self._address.tls_context()
        self._local_hostname = local_hostname
        self._free = asyncio.Semaphore(MAX_CONCURRENT_SENDS)
        self._idle: list[aiosmtplib.SMTP] = []

    async def send(self, message: bytes, *, sender: str, recipient: str) -> None:
        """Send one message, whose lines end with CRLF. The caller bounds the time. Raises: SendFailed."""
        try:
            async with self._free:
                # Without the sender's and the recipient's addresses.
                with span("SMTP", kind=SpanKind.CLIENT, attributes=self._attributes(len(message))) as conversation:
                    await self._send(message, sender=sender, recipient=recipient, conversation=conversation)
        except errors.SMTPRecipientRefused as refused:
            raise _refused("recipient_refused", refused) from refused
        except errors.SMTPDataError as refused:
            raise _refused("message_refused", refused) from refused
        except errors.SMTPNotSupported as unsupported:
            raise SendFailed("address_unsupported", is_final=True) from unsupported
        except TimeoutError as late:
            raise SendFailed("timed_out") from late
        except errors.SMTPConnectError as unreachable:
            raise SendFailed("unreachable", reply_code=_reply_code_of(unreachable)) from unreachable
        except (errors.SMTPException, OSError) as error:
            # Includes a refused login or sender: an operator can correct these, so the mail is tried again.
            raise SendFailed("provider_failed", reply_code=_reply_code_of(error)) from error

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

    def _attributes(self, size: int) -> dict[str, str | int]:
        address = self._address
        return {"server.address": address.hostname, "server.port": address.port, "orderly.message_bytes": size}

    async def _send(self, message: bytes, *, sender: str, recipient: str, conversation: Span) -> None:
        is_ascii = sender.isascii() and recipient.isascii()
        connection = await self._begin(sender, size=len(message), is_ascii=is_ascii)
        conversation.add_event("sender_accepted")
        try:
            await connection.rcpt(recipient, encoding="ascii" if is_ascii else "utf-8")
            conversation.add_event("recipient_accepted")
            # No time-out but the caller's: many servers scan a message before they reply. Giving up too early, each
            # retry would send a message that has arrived. Source: RFC 5321, 4.5.3.2.6.
            await connection.data(message, timeout=None)
        except errors.SMTPResponseException:
            # The server replied, so the connection can be reused. RSET ends the refused message.
            await self._reset(connection)
            raise
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)

    async def _begin(self, sender: str, *, size: int, is_ascii: bool) -> aiosmtplib.SMTP:
        """Return a connection on which the server has accepted the MAIL command.

        MAIL also tells whether the server has closed an idle connection. Then a new connection begins the message once
        more, which is safe: the server has not seen the message yet.
        """
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_connected:
                continue
            try:
                return await _mail(connection, sender, size=size, is_ascii=is_ascii)
            except (errors.SMTPServerDisconnected, errors.SMTPTimeoutError, OSError):
                break
            except errors.SMTPSenderRefused as refused:
                if refused.code != _SERVICE_UNAVAILABLE:
                    raise
                break
        return await _mail(await self._connect(), sender, size=size, is_ascii=is_ascii)

    async def _reset(self, connection: aiosmtplib.SMTP) -> None:
        """Make a connection reusable after a refused message, or close it."""
        try:
            await connection.rset()
        except (errors.SMTPException, OSError):
            connection.close()
        except BaseException:
            connection.close()
            raise
        else:
            self._idle.append(connection)

    async def _connect(self) -> aiosmtplib.SMTP:
        address = self._address
        connection = aiosmtplib.SMTP(
            hostname=address.hostname,
            port=address.port,
            username=address.username,
            password=address.password,
            local_hostname=self._local_hostname,
            timeout=COMMAND_TIMEOUT_SECONDS,
            use_tls=address.has_implicit_tls,
            start_tls=address.start_tls,
            tls_context=self._tls_context,
        )
        try:
            await connection.connect()
            await _greet(connection)
        except BaseException:
            connection.close()
            raise
        return connection


async def _greet(connection: aiosmtplib.SMTP) -> None:
    """Ask for the server's extensions, unless a log-in or TLS has done so."""
    if not connection.is_ehlo_or_helo_needed:
        return
    try:
        await connection.ehlo()
    except errors.SMTPHeloError:
        await connection.helo()


async def _mail(connection: aiosmtplib.SMTP, sender: str, *, size: int, is_ascii: bool) -> aiosmtplib.SMTP:
    """Begin a message on the connection, and return it; close it after any error."""
    try:
        if not is_ascii and not connection.supports_extension("smtputf8"):
            raise errors.SMTPNotSupported("the server accepts ASCII addresses only")
        options = [] if is_ascii else ["SMTPUTF8", "BODY=8BITMIME"]
        if connection.supports_extension("size"):
            options.append(f"SIZE={size}")
        await connection.mail(sender, options=options, encoding="ascii" if is_ascii else "utf-8")
    except BaseException:
        connection.close()
        raise
    return connection


def _refused(code: str, reply: errors.SMTPResponseException) -> SendFailed:
    return SendFailed(code, is_final=_is_final(reply.code), reply_code=_reply_code_of(reply))


def _reply_code_of(error: Exception) -> int | None:
    """Return the number of the server's reply; None if there was none, as when the connection breaks."""
    code = error.code if isinstance(error, errors.SMTPResponseException) else None
    return code if code is not None and 200 <= code <= 599 else None


def _is_final(code: int) -> bool:
    """Return whether the reply is permanent (5xx) and not transient (4xx). Source: RFC 5321, 4.2.1."""
    return code >= 500
