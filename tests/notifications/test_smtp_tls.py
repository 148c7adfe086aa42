"""Mails and the log-in are encrypted whenever the mail server can, and credentials never go out in plain text."""

from pathlib import Path

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from services.notifications.channels import SendFailed
from services.notifications.smtp import Smtp
from services.notifications.smtp_url import SmtpAddress
from tests.harness.certificates import Certificates, make_certificates
from tests.notifications.smtp_server import SmtpServer

MESSAGE = b"Subject: test\r\n\r\nHello\r\n"
CREDENTIALS = LoginPassword(b"orderly", b"hunter2/@")
LOG_IN = "orderly:hunter2%2F%40@"


class LogIns:
    """Accepts one pair of credentials, and keeps what arrives."""

    def __init__(self) -> None:
        self.encrypted: list[bool] = []

    def __call__(
        self, _server: SMTP, session: Session, _envelope: Envelope, _mechanism: str, data: object
    ) -> AuthResult:
        self.encrypted.append(session.ssl is not None)
        return AuthResult(success=data == CREDENTIALS, handled=False)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


async def send(url: str) -> None:
    smtp = Smtp(url, local_hostname="orderly.example")
    try:
        await smtp.send(MESSAGE, sender="no-reply@orderly.example", recipient="ann@example.org")
    finally:
        await smtp.close()


async def test_a_server_that_offers_starttls_gets_mail_encrypted_only(certificates: Certificates) -> None:
    context = certificates.server_context()
    async with SmtpServer(tls_context=context, require_starttls=True) as server:
        await send(f"{server.url}?ca_file={certificates.ca_file}")
        with pytest.raises(SendFailed, match="provider_failed"):
            await send(f"{server.url}?starttls=never")
        assert len(server.mails) == 1


async def test_smtps_encrypts_from_the_start(certificates: Certificates) -> None:
    async with SmtpServer(tls=certificates.server_context()) as server:
        await send(f"smtps://127.0.0.1:{server.port}?ca_file={certificates.ca_file}")
        assert len(server.mails) == 1


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
async def test_a_server_of_another_ca_gets_neither_mail_nor_log_in(
    certificates: Certificates, tmp_path: Path, scheme: str
) -> None:
    other, log_ins = make_certificates(tmp_path), LogIns()
    context = certificates.server_context()
    tls = {"tls": context} if scheme == "smtps" else {}
    async with SmtpServer(
        **tls, tls_context=None if tls else context, authenticator=log_ins, auth_require_tls=False
    ) as server:
        with pytest.raises(SendFailed) as failed:
            await send(f"{scheme}://{LOG_IN}127.0.0.1:{server.port}?ca_file={other.ca_file}")
        assert "CERTIFICATE_VERIFY_FAILED" in str(failed.value.__cause__)
        assert (server.mails, log_ins.encrypted) == ([], [])


async def test_a_log_in_uses_the_encrypted_connection(certificates: Certificates) -> None:
    log_ins = LogIns()
    async with SmtpServer(
        tls_context=certificates.server_context(), authenticator=log_ins, auth_required=True, auth_require_tls=True
    ) as server:
        await send(f"smtp://{LOG_IN}127.0.0.1:{server.port}?ca_file={certificates.ca_file}")
        assert (len(server.mails), log_ins.encrypted) == (1, [True])


async def test_no_credentials_are_sent_if_required_tls_is_not_offered() -> None:
    log_ins = LogIns()
    async with SmtpServer(authenticator=log_ins, auth_require_tls=False) as server:
        with pytest.raises(SendFailed):
            await send(f"smtp://{LOG_IN}127.0.0.1:{server.port}?starttls=required")
        assert (server.mails, log_ins.encrypted) == ([], [])


@pytest.mark.parametrize(
    ("url", "start_tls"),
    [
        ("smtp://mail.example", None),
        ("smtp://ann:secret@127.0.0.1", None),
        ("smtp://ann:secret@localhost", None),
        ("smtp://ann:secret@mail.example", True),
        ("smtp://ann:secret@203.0.113.1:587", True),
        ("smtp://mail.example?starttls=required", True),
        ("smtp://ann:secret@mail.example?starttls=never", False),
        ("smtps://ann:secret@mail.example", False),
    ],
)
def test_credentials_require_tls_except_on_loopback_or_if_told_otherwise(url: str, start_tls: bool | None) -> None:
    address = SmtpAddress.of(url)
    assert address.start_tls is start_tls
    assert address.has_implicit_tls == url.startswith("smtps")
    assert "secret" not in repr(address)


@pytest.mark.parametrize(
    "url",
    ["http://mail", "smtp://", "smtp://mail?tls=1", "smtp://mail?starttls=1", "smtps://mail?starttls=required"],
)
def test_another_url_is_invalid(url: str) -> None:
    with pytest.raises(ValueError, match=r"must look like|has an unknown starttls"):
        SmtpAddress.of(url)
