"""The mails that the mail catcher keeps: one file each, so that they outlive the process."""

import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from itertools import count
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

MAX_MESSAGES = 5_000
"""Number of mails that are kept; a further one replaces the oldest."""
# The first line of a file. The mail follows it byte for byte, so any mail program opens the file.
ENVELOPE_HEADER = b"X-Mail-Catcher: "
MAX_ENVELOPE_BYTES = 1024 * 1024
"""The longest first line that is read: more cannot be an envelope."""

logger = logging.getLogger(__name__)


class Mail(BaseModel):
    """The part of a mail that lists show; the mail itself stays in its file."""

    model_config = ConfigDict(frozen=True)

    id: int
    received_at: AwareDatetime
    sender: str
    recipients: tuple[str, ...]
    subject: str
    message_id: str

    def summary(self) -> dict[str, object]:
        """Return the mail as the API lists it."""
        return {
            "id": str(self.id),
            "received_at": self.received_at.isoformat(),
            "from": self.sender,
            "to": list(self.recipients),
            "subject": self.subject,
            "message_id": self.message_id,
        }


class Mailbox:
    """The latest mails, newest first. Implements aiosmtpd's handler; one process at a time may use the folder."""

    def __init__(self, folder: Path, *, max_messages: int = MAX_MESSAGES) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        self._max_messages = max_messages
        self._mails = {mail.id: mail for mail in _read_mails(folder)}
        # Ids of unreadable files are not used again: the new mail would replace the file.
        self._ids = count(max(_numbered_files(folder), default=0) + 1)
        self._remove_oldest()

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Store a mail before the sender is told that it arrived. aiosmtpd calls this for each mail."""
        raw = envelope.original_content or b""
        headers = message_from_bytes(raw, policy=default)
        mail = Mail(
            id=next(self._ids),
            received_at=datetime.now(UTC),
            sender=text_of(envelope.mail_from),
            recipients=tuple(text_of(recipient) for recipient in envelope.rcpt_tos),
            subject=text_of(headers["Subject"]),
            message_id=text_of(headers["Message-ID"]),
        )
        try:
            self._write(mail, raw)
        except OSError as error:
            logger.error("A mail can't be stored: %s", error)
            return "452 4.3.1 The mail can't be stored now"
        self._mails[mail.id] = mail
        self._remove_oldest()
        return "250 OK"

    def get(self, mail_id: int) -> tuple[Mail, EmailMessage] | None:
        """Return one mail with its headers and parts, or None if it is no longer kept."""
        mail = self._mails.get(mail_id)
        if mail is None:
            return None
        try:
            stored = self._path(mail_id).read_bytes()
        except OSError as error:
            logger.error("Mail %d can't be read: %s", mail_id, error)
            return None
        _, _, raw = stored.partition(b"\n")
        return mail, message_from_bytes(raw, policy=default)

    def matching(self, wanted: Mapping[str, str]) -> Iterator[Mail]:
        """Yield matching mails, newest first. `to`, `subject` and `q` (either) match a part of the text in any case."""
        to, subject, either = (wanted.get(name, "").casefold() for name in ("to", "subject", "q"))
        for mail in reversed(list(self._mails.values())):
            mail_to, mail_subject = " ".join(mail.recipients).casefold(), mail.subject.casefold()
            if to in mail_to and subject in mail_subject and (either in mail_to or either in mail_subject):
                yield mail

    def clear(self) -> None:
        """Delete every mail, readable or not."""
        self._mails.clear()
        for path in _numbered_files(self._folder).values():
            path.unlink(missing_ok=True)

    def _write(self, mail: Mail, raw: bytes) -> None:
        """Write the file under another name first: a killed process leaves a whole mail or none.

        No fsync: a crash of the machine may cost the last mails, and nobody's work depends on them.
        """
        unfinished = self._path(mail.id).with_suffix(".unfinished")
        unfinished.write_bytes(ENVELOPE_HEADER + mail.model_dump_json().encode() + b"\r\n" + raw)
        unfinished.replace(self._path(mail.id))

    def _remove_oldest(self) -> None:
        while len(self._mails) > self._max_messages:
            oldest = next(iter(self._mails))
            del self._mails[oldest]
            self._path(oldest).unlink(missing_ok=True)

    def _path(self, mail_id: int) -> Path:
        return self._folder / f"{mail_id:08d}.eml"


def _read_mails(folder: Path) -> Iterator[Mail]:
    """Yield the stored mails, oldest first. A file that can't be read is reported and skipped."""
    for unfinished in folder.glob("*.unfinished"):
        unfinished.unlink()
    for number, path in sorted(_numbered_files(folder).items()):
        try:
            with path.open("rb") as file:
                line = file.readline(MAX_ENVELOPE_BYTES)
            mail = Mail.model_validate_json(line.removeprefix(ENVELOPE_HEADER))
        except (OSError, ValidationError) as error:
            logger.warning("%s is not a stored mail and is skipped: %s", path, str(error).partition("\n")[0])
            continue
        yield mail.model_copy(update={"id": number})


def _numbered_files(folder: Path) -> dict[int, Path]:
    return {int(path.stem): path for path in folder.glob("*.eml") if path.stem.isdecimal()}


def text_of(value: object) -> str:
    """Return a header as text, with question marks for bytes that are not UTF-8, which JSON can't carry."""
    return "" if value is None else str(value).encode(errors="replace").decode()
