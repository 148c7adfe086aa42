"""The command line: `python -m deploy.backup backup`, `restore`, `list`, `verify`, `receive` and `serve`."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from pydantic import ValidationError

from deploy.backup.archive import Incarnation, ServiceArchive
from deploy.backup.errors import BackupError, ServerRunning
from deploy.backup.server import Server
from deploy.backup.settings import BackupSettings
from deploy.local.process import LocalError

T = TypeVar("T")
MEGABYTE = 1024 * 1024

cli = typer.Typer(help="Base backups and WAL archives of the services' databases.", pretty_exceptions_enable=False)
Services = Annotated[
    str, typer.Option("--services", "--service", help="The services, separated by commas. Default: all.")
]


@cli.command()
def backup(
    services: Services = "",
    keep: Annotated[
        int | None, typer.Option(min=1, help="Verified base backups to keep. Default: BACKUP_KEEP.")
    ] = None,
    keep_days: Annotated[
        float | None, typer.Option(min=0, help="Keep what a restore to any time in these days needs.")
    ] = None,
) -> None:
    """Take and verify a base backup of each running server, then remove what is no longer needed."""
    from deploy.backup.base_backup import back_up  # noqa: PLC0415 - `receive` starts without it
    from deploy.backup.retention import purge  # noqa: PLC0415

    settings = _settings()
    chosen = {"keep": keep, "keep_days": keep_days}
    settings = settings.model_copy(update={name: value for name, value in chosen.items() if value is not None})

    async def work(server: Server) -> None:
        made = await back_up(server)
        size = made.record.size_bytes / MEGABYTE
        print(f"{server.service}: base backup {made.name}, {size:.0f} MiB, verified, up to {made.record.end_lsn}")
        purged = await purge(server.archive, settings.retention)
        if purged.backups:
            print(f"{server.service}: removed {', '.join(purged.backups)}")

    _each(_servers(settings, services), work)


@cli.command()
def restore(
    to: Annotated[
        str, typer.Option(help="A time with its time zone, such as 2026-11-29T12:00:00Z. Default: the newest state.")
    ] = "",
    services: Services = "",
) -> None:
    """Restore stopped servers to a time, or to the newest state. The former data are kept beside the restored."""
    from deploy.backup.restore import check_stopped, restore  # noqa: PLC0415

    settings, target = _settings(), _time(to)
    _check_system_is_stopped()
    servers = _servers(settings, services)
    _run(_all_stopped([check_stopped(server) for server in servers]))

    async def work(server: Server) -> None:
        restored = await restore(server, to=target, archived=settings.wal_archive != "off")
        last = restored.last_transaction_at
        print(f"{server.service}: restored from base backup {restored.from_incarnation}/{restored.backup.name}")
        print(f"  last transaction   {last.isoformat() if last else 'none after the base backup'}")
        print(f"  WAL applied up to  {restored.reached_lsn}")
        print(f"  former data        {restored.former_data or 'there were none'}")
        print(f"  new incarnation    {restored.incarnation}")
        for warning in restored.warnings:
            print(f"  warning: {warning}")
        if target is not None:
            print('  The services continue by themselves. Then audit everything: make audit AUDIT="--full"')

    _each(servers, work)


@cli.command(name="list")
def list_backups(services: Services = "") -> None:
    """List the incarnations and base backups of each service, and what its archive can be restored to."""
    for server in _servers(_settings(), services):
        print(server.service)
        for incarnation in server.archive.incarnations():
            record = incarnation.record
            print(f"  {incarnation.name}  since {record.started_at:%Y-%m-%d %H:%M:%SZ}  ({record.reason})")
            for made in incarnation.backups():
                state = "verified" if made.is_verified else "DAMAGED"
                size = made.record.size_bytes / MEGABYTE
                print(f"    {made.name}  {size:8.1f} MiB  {state} {made.record.verified_at:%Y-%m-%d %H:%M:%SZ}")


@cli.command()
def verify(services: Services = "") -> None:
    """Verify every base backup and the WAL since the newest one. The exit status is 1 if anything is damaged."""

    async def work(server: Server) -> None:
        with server.archive.locked():
            problems = [
                problem
                for incarnation in server.archive.incarnations()
                for problem in await _problems_of(server.archive, incarnation)
            ]
        if problems:
            raise BackupError("\n".join(f"{server.service}: {problem}" for problem in problems))
        print(f"{server.service}: all base backups and their WAL are intact")

    _each(_servers(_settings(), services), work)


async def _problems_of(archive: ServiceArchive, incarnation: Incarnation) -> list[str]:
    from deploy.backup.base_backup import damage_of_wal  # noqa: PLC0415
    from deploy.backup.base_backup import verify as verify_backup  # noqa: PLC0415

    checked = [await verify_backup(made, log=archive.log) for made in incarnation.backups()]
    problems = [f"base backup {incarnation.name}/{each.name} is damaged" for each in checked if not each.is_verified]
    if verified := [each for each in checked if each.is_verified]:
        damage = await damage_of_wal(incarnation, verified[0], log=archive.log)
        problems += [f"WAL of incarnation {incarnation.name}: {damage}"] if damage else []
    return problems


@cli.command()
def receive(service: Annotated[str, typer.Option(help="The service of the server.")]) -> None:
    """Archive the WAL of one server until the connection ends. Whoever starts this starts it again then."""
    from deploy.backup.receiver import become_pg_receivewal, prepare  # noqa: PLC0415

    [server] = _servers(_settings(), service)
    continuation = _run(prepare(server))
    incarnation = continuation.incarnation
    if continuation.is_new:
        print(f"WARNING: {service} begins incarnation {incarnation.name}: {incarnation.record.reason}. Take a backup.")
    become_pg_receivewal(server, continuation)


@cli.command()
def serve() -> None:
    """Take base backups on a schedule, and serve /metrics, until SIGTERM."""
    from deploy.backup.serve import serve_until_stopped  # noqa: PLC0415

    settings = _settings()
    _run(serve_until_stopped(settings, _servers(settings, "")))


def _settings() -> BackupSettings:
    """Return the settings of the environment, or those of the local system if it names no servers."""
    try:
        if "BACKUP_SERVERS" in os.environ:
            return BackupSettings()
        from deploy.backup.local import backup_settings  # noqa: PLC0415 - an image has no local system
        from deploy.local.settings import LocalSettings  # noqa: PLC0415

        return backup_settings(LocalSettings())
    except ValidationError as error:
        _fail(*(f"BACKUP_{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors()))


def _servers(settings: BackupSettings, services: str) -> list[Server]:
    try:
        return settings.chosen(services)
    except (BackupError, OSError) as error:
        _fail(str(error))


def _check_system_is_stopped() -> None:
    """Fail while the local system runs: its supervisor would start the servers again during the restore."""
    if "BACKUP_SERVERS" in os.environ:
        return
    from deploy.local.settings import LocalSettings  # noqa: PLC0415
    from deploy.local.state import running_pid  # noqa: PLC0415

    if (pid := running_pid(LocalSettings().folder)) is not None:
        _fail(f"The system runs (pid {pid}). Stop it before a restore: make stop")


def _time(text: str) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        _fail(f"{text} is no time. Write it as 2026-11-29T12:00:00Z.")
    if moment.tzinfo is None:
        _fail(f"{text} has no time zone. Write it as {text}Z or {text}+01:00.")
    if moment > datetime.now(UTC):
        _fail(f"{text} is in the future.")
    return moment


async def _all_stopped(checks: list[Coroutine[Any, Any, None]]) -> None:
    results = await asyncio.gather(*checks, return_exceptions=True)
    if running := [str(result) for result in results if isinstance(result, ServerRunning)]:
        raise ServerRunning("\n".join(running))


def _run(work: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(work)
    except LocalError as error:
        _fail(str(error))


def _each(servers: list[Server], work: Callable[[Server], Coroutine[Any, Any, None]]) -> None:
    """Do the work for each server, one after the other; fail at the end if it failed for any."""
    failures: list[str] = []
    for server in servers:
        try:
            asyncio.run(work(server))
        except LocalError as error:
            failures.append(str(error))
    if failures:
        _fail(*failures)


def _fail(*messages: str) -> NoReturn:
    for message in messages:
        typer.echo(message, err=True)
    raise typer.Exit(1)


if __name__ == "__main__":
    cli()
