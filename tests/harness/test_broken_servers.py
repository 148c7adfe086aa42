"""Servers are broken for real: a partitioned network, a full disk, a wrong clock, a mail server that greylists."""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Event, Thread

import aiosmtplib
import pytest

from deploy.local.cutting_proxy import CuttingProxy
from deploy.local.tcp_server import tcp_server
from tests.harness.clock import Clock, clocks_can_be_shifted
from tests.harness.greylisting import GreylistingProxy
from tests.harness.mail import MailCatcher, running_mail_catcher
from tests.harness.small_disk import disks_can_be_mounted, small_disk

PRINT_TIME = "import time\nwhile True: print(time.time(), flush=True); time.sleep(0.05)"


async def _echo(stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await stream.read(100):
        writer.write(chunk)


@asynccontextmanager
async def proxied_echo() -> AsyncIterator[CuttingProxy]:
    async with tcp_server(_echo) as port:
        proxy = CuttingProxy(target_port=port)
        await proxy.open()
        yield proxy
        await proxy.close()


async def test_a_partition_delays_what_is_sent_and_loses_nothing() -> None:
    async with proxied_echo() as proxy:
        stream, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        proxy.partition(60)
        writer.write(b"delayed")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(stream.read(100), timeout=0.2)
        proxy.heal()
        assert await stream.read(100) == b"delayed"
        writer.close()


@pytest.mark.skipif(not disks_can_be_mounted(), reason="this process may mount no disk")
def test_a_full_disk_takes_no_byte_until_it_is_freed(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", mebibytes=4) as disk:
        file = disk.folder / "file"
        disk.fill()
        with pytest.raises(OSError, match="No space left"):
            file.write_bytes(b"x" * 10_000)
        disk.free()
        assert file.write_bytes(b"x" * 10_000) == 10_000


@pytest.mark.skipif(not disks_can_be_mounted(), reason="this process may mount no disk")
def test_a_disk_gets_full_while_others_write_to_it(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", mebibytes=64) as disk:
        is_full = Event()

        def write() -> None:
            with (disk.folder / "file").open("wb", buffering=0) as file:
                try:
                    while True:
                        file.write(b"x" * 4096)
                        time.sleep(0.001)
                except OSError:
                    is_full.set()

        writer = Thread(target=write, daemon=True)
        writer.start()
        disk.fill()
        assert is_full.wait(1), "without the ballast, the writer would take a minute"
        writer.join()


@pytest.mark.skipif(not clocks_can_be_shifted(), reason="the library was built for another machine")
def test_a_clock_is_shifted_while_its_process_runs(tmp_path: Path) -> None:
    clock = Clock(tmp_path / "clock")
    with subprocess.Popen(
        [sys.executable, "-c", PRINT_TIME], env=clock.environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert abs(float(process.stdout.readline()) - time.time()) < 60
        clock.shift(600)
        deadline = time.monotonic() + 30
        while float(process.stdout.readline()) - time.time() < 500:
            assert time.monotonic() < deadline, "the clock was not shifted"
        process.kill()


@pytest.fixture
def catcher(tmp_path: Path) -> Iterator[MailCatcher]:
    with running_mail_catcher(tmp_path) as running:
        yield running


async def test_each_recipient_is_turned_away_until_its_time_has_passed(catcher: MailCatcher) -> None:
    proxy = GreylistingProxy(target_port=int(catcher.smtp_url.rpartition(":")[2]))
    await proxy.open()
    proxy.greylist(0.5)
    with pytest.raises(aiosmtplib.SMTPRecipientsRefused) as refused:
        await _send(proxy, recipient="ada@example.com")
    assert refused.value.recipients[0].code == 451
    deadline = time.monotonic() + 30
    while True:
        try:
            await _send(proxy, recipient="ada@example.com")
            break
        except aiosmtplib.SMTPRecipientsRefused:
            assert time.monotonic() < deadline, "the recipient was not accepted"
            await asyncio.sleep(0.1)
    (mail,) = await catcher.messages()
    assert "RCPT TO" in mail["text"]
    await proxy.close()


async def _send(proxy: GreylistingProxy, *, recipient: str) -> None:
    # The body has a line that looks like a command.
    message = f"To: {recipient}\r\nSubject: Hello\r\n\r\nRCPT TO:<nobody@example.com>\r\n"
    await aiosmtplib.send(
        message,
        sender="orderly@example.com",
        recipients=[recipient],
        hostname="127.0.0.1",
        port=proxy.port,
    )
