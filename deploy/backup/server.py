"""A PostgreSQL server that is archived: its role and settings for that, and who it says it is."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import asyncpg

from deploy.backup.archive import ServiceArchive
from deploy.backup.errors import NotArchiving
from deploy.backup.wal import parse_lsn
from deploy.local.postgres import ensure_role
from shared.connection_errors import CONNECTION_ERRORS

Mode = Literal["off", "asynchronous", "synchronous"]
ROLE = SLOT = APPLICATION_NAME = "orderly_archive"
"""The role that replicates and can read no table, its replication slot, and its name in `pg_stat_replication`."""
MAX_SLOT_WAL_KEEP_SIZE = "2GB"
"""Upper bound of the WAL that a server keeps for a receiver that is away. With more WAL, the slot is lost."""
CONNECT_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Access:
    """Address, role and password. libpq and asyncpg accept a folder of Unix sockets as the host."""

    host: str
    port: int
    role: str = ROLE
    password: str | None = None

    def conninfo(self, *, application_name: str) -> str:
        """Return the connection string of libpq, without the password."""
        return f"host={self.host} port={self.port} user={self.role} application_name={application_name}"

    def environment(self) -> dict[str, str]:
        """Return what the programs of PostgreSQL get in their environment, which only their own user can read."""
        return {} if self.password is None else {"PGPASSWORD": self.password}

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        """Connect to the database `postgres`. Raises: NotArchiving for whatever the server or the network does."""
        try:
            connection = await asyncpg.connect(
                host=self.host,
                port=self.port,
                user=self.role,
                password=self.password,
                database="postgres",
                timeout=CONNECT_TIMEOUT_SECONDS,
                # Else a commit, such as that of a slot, would wait for the receiver that it is made for.
                server_settings={"synchronous_commit": "local"},
            )
            try:
                yield connection
            finally:
                await connection.close()
        except CONNECTION_ERRORS as error:
            raise NotArchiving(
                f"{self.host}:{self.port} as {self.role}: {str(error) or type(error).__name__}"
            ) from error


@dataclass(frozen=True, kw_only=True)
class Server:
    """A service's server, and the archive that belongs to it."""

    service: str
    access: Access
    archive: ServiceArchive
    data_folder: Path | None = None
    """The server's data folder, if a restore may replace it here."""
    durable: bool = True
    """Whether base backups and restored data are flushed to the disk. Only tests switch it off."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """The history that a server writes."""

    system_identifier: int
    timeline: int
    segment_bytes: int
    flushed: int
    """The end of the WAL that is safe on the server's disk."""
    now: datetime


@dataclass(frozen=True, kw_only=True)
class Slot:
    """The receiver's replication slot."""

    kept_from: int | None
    """The first position of the WAL that the server keeps for the receiver."""
    is_lost: bool
    """Whether the server has removed WAL that the receiver does not have."""


def archive_settings(mode: Mode, *, max_slot_wal_keep_size: str = MAX_SLOT_WAL_KEEP_SIZE) -> dict[str, str]:
    """Return the settings of a server that is archived like this.

    `synchronous`: a commit is acknowledged after the archive has it too, and waits while there is no receiver.
    """
    if mode == "off":
        return {}
    settings = {"max_slot_wal_keep_size": max_slot_wal_keep_size}
    return settings if mode == "asynchronous" else {**settings, "synchronous_standby_names": APPLICATION_NAME}


async def ensure_archive_role(admin_url: str, *, password: str) -> None:
    """Make the role of backups and receivers unless it exists, and set its password. `admin_url`: the superuser's.

    It does not wait for a receiver, which needs this role to connect.
    """
    connection = await asyncpg.connect(admin_url, server_settings={"synchronous_commit": "local"})
    try:
        await ensure_role(connection, name=ROLE, password=password)
        await connection.execute(f"ALTER ROLE {ROLE} REPLICATION; GRANT pg_monitor TO {ROLE}")
    finally:
        await connection.close()


async def identify(connection: asyncpg.Connection) -> Identity:
    """Return which history the server writes now. Raises: NotArchiving for a replica."""
    if await connection.fetchval("SELECT pg_is_in_recovery()"):
        raise NotArchiving("The server is a replica or still recovers. Archive the server that accepts writes.")
    [row] = await connection.fetch("""
        SELECT system_identifier, bytes_per_wal_segment AS segment_bytes, clock_timestamp() AS now,
               pg_current_wal_flush_lsn()::text AS flushed, pg_walfile_name(pg_current_wal_insert_lsn()) AS segment
        FROM pg_control_system(), pg_control_init()
    """)
    return Identity(
        system_identifier=row["system_identifier"],
        # Not that of pg_control, which is the last checkpoint's.
        timeline=int(row["segment"][:8], 16),
        segment_bytes=row["segment_bytes"],
        flushed=parse_lsn(row["flushed"]),
        now=row["now"],
    )


async def find_slot(connection: asyncpg.Connection) -> Slot | None:
    """Return the receiver's slot; None if there is none."""
    row = await connection.fetchrow(
        "SELECT restart_lsn::text, wal_status FROM pg_replication_slots WHERE slot_name = $1", SLOT
    )
    if row is None:
        return None
    kept_from = parse_lsn(row["restart_lsn"]) if row["restart_lsn"] else None
    return Slot(kept_from=kept_from, is_lost=row["wal_status"] == "lost")


async def create_slot(connection: asyncpg.Connection, *, instead_of: Slot | None = None) -> None:
    """Make the receiver's slot, for which the server keeps WAL from now on, in place of a lost one."""
    if instead_of is not None:
        await connection.execute("SELECT pg_drop_replication_slot($1)", SLOT)
    await connection.execute("SELECT pg_create_physical_replication_slot($1, true)", SLOT)


async def drop_unused_slot(admin_url: str) -> None:
    """Drop the receiver's slot unless a receiver uses it."""
    connection = await asyncpg.connect(admin_url, server_settings={"synchronous_commit": "local"})
    try:
        await connection.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1 AND NOT active",
            SLOT,
        )
    finally:
        await connection.close()
