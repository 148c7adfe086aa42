"""The mails of the mail catcher outlive its process, and no file in their folder keeps it from starting."""

import asyncio
import os
import signal
import smtplib
import stat
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from deploy.local.mailbox import Mailbox
from tests.harness.mail import MailCatcher, running_mail_catcher

MAIL = b"From: shop@example.org\r\nTo: %s\r\nSubject: %s\r\nMessage-ID: <1@example.org>\r\n\r\nplain words\r\n"


def test_mails_are_there_after_the_process_was_killed(tmp_path: Path) -> None:
    with running_mail_catcher(tmp_path / "mails") as catcher:
        _send(catcher, "ann@example.org", "Hidden from the headers")
        _send(catcher, "bob@example.org", "Second")
        before = _messages(catcher)
        os.kill(catcher.pid, signal.SIGKILL)

    with running_mail_catcher(tmp_path / "mails") as catcher:
        after = _messages(catcher)
        _send(catcher, "ann@example.org", "Third")
        subjects = [mail["subject"] for mail in _messages(catcher)]

    assert [mail["to"] for mail in before] == [["bob@example.org"], ["ann@example.org"]]
    assert after == before
    assert subjects == ["Third", "Second", "Hidden from the headers"]


def test_damaged_and_half_written_files_are_skipped(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "mails"
    with running_mail_catcher(folder) as catcher:
        for subject in ("First", "Second", "Third", "Fourth"):
            _send(catcher, "ann@example.org", subject)
    first, second, third, _ = sorted(folder.iterdir())
    first.write_bytes(b"")
    second.write_bytes(os.urandom(2_000))
    third.write_bytes(third.read_bytes()[:40])
    (folder / "00000005.eml").mkdir()
    (folder / "00000006.unfinished").write_bytes(b"half a ma")
    (folder / "notes.eml").write_text("not ours")

    with running_mail_catcher(folder) as catcher:
        _send(catcher, "ann@example.org", "Fifth")
        subjects = [mail["subject"] for mail in _messages(catcher)]

    assert subjects == ["Fifth", "Fourth"]
    assert capfd.readouterr().err.count("is not a stored mail and is skipped") == 4
    assert not (folder / "00000006.unfinished").exists()
    assert (folder / "notes.eml").exists()


def test_deleted_mails_stay_deleted(tmp_path: Path) -> None:
    mailbox = Mailbox(tmp_path)
    _receive(mailbox, subject=b"First")

    mailbox.clear()

    assert list(tmp_path.iterdir()) == []
    assert list(Mailbox(tmp_path).matching({})) == []


def test_the_oldest_mail_makes_room_for_a_new_one_also_on_the_disk(tmp_path: Path) -> None:
    mailbox = Mailbox(tmp_path, max_messages=3)
    for number in range(5):
        _receive(mailbox, subject=b"Number %d" % number)

    assert len(list(tmp_path.iterdir())) == 3
    assert _subjects(Mailbox(tmp_path)) == ["Number 4", "Number 3", "Number 2"]
    assert _subjects(Mailbox(tmp_path, max_messages=1)) == ["Number 4"]
    assert len(list(tmp_path.iterdir())) == 1


def test_a_mail_that_cannot_be_stored_is_asked_for_again_later(tmp_path: Path) -> None:
    folder = tmp_path / "mails"
    mailbox = Mailbox(folder)
    folder.rmdir()

    assert _receive(mailbox, subject=b"Lost").startswith("452 ")
    folder.mkdir()
    assert _receive(mailbox, subject=b"Kept") == "250 OK"

    assert _subjects(mailbox) == _subjects(Mailbox(folder)) == ["Kept"]


def test_a_mail_whose_file_is_gone_is_not_found(tmp_path: Path) -> None:
    mailbox = Mailbox(tmp_path)
    _receive(mailbox, subject=b"Removed")
    (file,) = tmp_path.iterdir()
    file.unlink()

    assert mailbox.get(int(file.stem)) is None


def test_a_header_that_is_not_text_can_be_listed_and_shown(tmp_path: Path) -> None:
    with running_mail_catcher(tmp_path / "mails") as catcher:
        _send(catcher, "ann@example.org", b"sol\xe9 \xff")
        (mail,) = _messages(catcher)

    assert mail["subject"].startswith("sol")
    assert mail["text"] == "plain words\n"


def test_the_folder_is_for_its_owner_only_and_a_file_is_the_mail_as_it_came(tmp_path: Path) -> None:
    folder = tmp_path / "mails"
    _receive(Mailbox(folder), subject=b"Any")
    (file,) = folder.iterdir()

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert file.read_bytes().partition(b"\r\n")[2] == MAIL % (b"ann@example.org", b"Any")


def _send(catcher: MailCatcher, to: str, subject: str | bytes) -> None:
    """Send a mail whose header names another recipient than the envelope, as for a blind copy."""
    raw_subject = subject if isinstance(subject, bytes) else subject.encode()
    host, port = catcher.smtp_url.removeprefix("smtp://").split(":")
    with smtplib.SMTP(host, int(port)) as client:
        client.sendmail("shop@example.org", [to], MAIL % (b"undisclosed@example.org", raw_subject))


def _messages(catcher: MailCatcher) -> list[dict[str, Any]]:
    return asyncio.run(catcher.messages())


def _receive(mailbox: Mailbox, *, subject: bytes) -> str:
    """Pass a mail on in the way that aiosmtpd does."""
    envelope = Envelope()
    envelope.mail_from, envelope.rcpt_tos = "shop@example.org", ["ann@example.org"]
    envelope.original_content = MAIL % (b"ann@example.org", subject)
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(mailbox.handle_DATA(SMTP(mailbox, loop=loop), Session(loop), envelope))
    finally:
        loop.close()


def _subjects(mailbox: Mailbox) -> list[str]:
    return [mail.subject for mail in mailbox.matching({})]
