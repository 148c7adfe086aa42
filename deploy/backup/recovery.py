"""Run a copied data folder as a private server, until it has applied the archived WAL and has been promoted."""

import shlex
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from deploy.backup.archive import ServiceArchive, give_to_server_user
from deploy.backup.errors import BackupError, DiskFull, TargetAfterEnd, WalDamaged
from deploy.backup.plan import Plan, recovery_source
from deploy.backup.server import Access, Identity, identify
from deploy.backup.wal import forked_at, format_lsn, history_of
from deploy.local.postgres import SETTINGS, binaries, system_user
from deploy.local.process import Process, Program, StartFailed, start_process

PORT = 5432
"""The number in the Unix socket's name. The server listens on no TCP port."""
TIMEOUT_SECONDS = 24 * 3600.0
"""Upper bound of a recovery. A server applies some hundred megabytes of WAL in a second."""
_NO_PASSWORDS = "local all all trust\nlocal replication all trust\n"


@dataclass(frozen=True, kw_only=True)
class Recovered:
    """A server that has recovered and accepts writes."""

    access: Access
    """The superuser's, by a socket that only this user and root can reach."""
    identity: Identity
    reached: int
    """The position at which recovery stopped and the server's own history begins."""
    last_transaction_at: datetime | None
    """The end of the last restored transaction; None if none came after the base backup."""


@asynccontextmanager
async def recovered(
    archive: ServiceArchive, plan: Plan, data_folder: Path, *, durable: bool = True
) -> AsyncIterator[Recovered]:
    """Recover a copy of the plan's base backup; stop the server at the end of the block.

    Raises: WalDamaged, TargetAfterEnd, DiskFull, BackupError.
    """
    signal_file = data_folder / "recovery.signal"
    signal_file.touch(mode=0o600)
    give_to_server_user(signal_file)
    with recovery_source(archive, plan) as source, TemporaryDirectory(prefix="orderly-restore-") as folder:
        sockets = Path(folder)
        (sockets / "pg_hba.conf").write_text(_NO_PASSWORDS)
        for path in (sockets, sockets / "pg_hba.conf"):
            give_to_server_user(path)
        program = _program(plan, data_folder, source=source, sockets=sockets, service=archive.service, durable=durable)
        process = await start_process(program, log=archive.log, echo=lambda _name, _line: None)
        try:
            await _wait_until_promoted(process, plan, service=archive.service)
            yield await _inspect(plan, data_folder, sockets=sockets, service=archive.service)
        finally:
            await process.stop()


def _program(plan: Plan, data_folder: Path, *, source: Path, sockets: Path, service: str, durable: bool) -> Program:
    target = {} if plan.to is None else {"recovery_target_time": plan.to.isoformat()}
    settings = {
        **SETTINGS,
        **target,
        "listen_addresses": "",
        "unix_socket_directories": str(sockets),
        "hba_file": str(sockets / "pg_hba.conf"),
        "restore_command": f"test -e {shlex.quote(str(source))}/%f && cp {shlex.quote(str(source))}/%f %p",
        "recovery_target_action": "promote",
        # Of the base backup: an incarnation has one timeline.
        "recovery_target_timeline": "current",
        # Refuse connections until it is promoted, and need no settings as large as those of the lost server.
        "hot_standby": "off",
        "archive_mode": "off",
        "synchronous_standby_names": "",
        "fsync": "on" if durable else "off",
        "ssl": "off",
        "logging_collector": "off",
    }
    options = [f"--{name}={value}" for name, value in settings.items()]
    return Program(
        name=f"{service}-restore",
        command=[binaries() / "postgres", "-D", data_folder, "-p", str(PORT), *options],
        ready=lambda: _answers(sockets),
        address=str(sockets),
        user=system_user(),
        ready_timeout_seconds=TIMEOUT_SECONDS,
        stop_signal=signal.SIGINT,
        stop_timeout_seconds=300,
        orphan_signal=signal.SIGQUIT,
    )


async def _answers(sockets: Path) -> bool:
    try:
        async with _superuser(sockets).connection() as connection:
            return not await connection.fetchval("SELECT pg_is_in_recovery()")
    except BackupError:
        # It still recovers, or has just exited.
        return False


def _superuser(sockets: Path) -> Access:
    return Access(host=str(sockets), port=PORT, role="postgres")


async def _wait_until_promoted(process: Process, plan: Plan, *, service: str) -> None:
    try:
        await process.wait_until_ready()
    except StartFailed as failure:
        text = str(failure)
        if "recovery ended before configured recovery target was reached" in text and plan.to is not None:
            raise TargetAfterEnd(
                f"The archive of {service} ends before {plan.to.isoformat()}, or is damaged before it."
                " `python -m deploy.backup verify` says which."
            ) from failure
        raise (DiskFull if "No space left on device" in text else BackupError)(text) from failure


async def _inspect(plan: Plan, data_folder: Path, *, sockets: Path, service: str) -> Recovered:
    access = _superuser(sockets)
    async with access.connection() as connection:
        identity = await identify(connection)
        last_transaction_at = await connection.fetchval("SELECT pg_last_xact_replay_timestamp()")
    reached = forked_at(history_of(data_folder, identity.timeline))
    if plan.to is None and reached < plan.minimum_end:
        raise WalDamaged(
            f"Recovery of {service} stopped at {format_lsn(reached)}, although the archive reaches"
            f" {format_lsn(plan.minimum_end)}: a WAL segment is damaged. The transactions before it can be restored"
            f" with a time before {last_transaction_at}."
        )
    return Recovered(access=access, identity=identity, reached=reached, last_transaction_at=last_transaction_at)
