"""Settings of the archive: BACKUP_* in the environment, or those of the local system."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from deploy.backup.archive import ServiceArchive
from deploy.backup.errors import BackupError
from deploy.backup.retention import DEFAULT_KEEP, Retention
from deploy.backup.server import Access, Mode, Server


class BackupSettings(BaseSettings):
    """The servers, their archives and their schedule."""

    model_config = SettingsConfigDict(env_prefix="BACKUP_", frozen=True)

    archive: Path
    """The folder of all archives. It should not be on the disk of the servers' data."""
    servers: dict[str, str]
    """HOST:PORT of each service's server, as JSON."""
    password_file: Path
    """The password of the role `orderly_archive`, which is the same on all servers."""
    data_folders: dict[str, Path] = {}
    """The data folders that a restore may replace from here, as JSON."""
    wal_archive: Mode = "asynchronous"
    keep: Annotated[int, Field(ge=1)] = DEFAULT_KEEP
    keep_days: Annotated[float, Field(ge=0)] = 0
    every_hours: Annotated[float, Field(gt=0)] = 24
    """Time between two scheduled base backups of a server. A restore applies the WAL since the last one."""
    initial_retry_seconds: Annotated[float, Field(gt=0)] = 15
    """Delay after the first failure of a scheduled base backup; doubles each time."""
    metrics_host: str = "127.0.0.1"
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = 9187

    @field_validator("servers")
    @classmethod
    def _check_addresses(cls, servers: dict[str, str]) -> dict[str, str]:
        if wrong := [address for address in servers.values() if not address.rpartition(":")[2].isdecimal()]:
            raise ValueError(f"not HOST:PORT: {', '.join(wrong)}")
        return servers

    @property
    def retention(self) -> Retention:
        """The rules for what is kept."""
        return Retention(keep=self.keep, keep_days=self.keep_days)

    def chosen(self, services: str | None) -> list[Server]:
        """Return the servers of the named services, separated by commas; all without a name. Raises: BackupError."""
        names = [name.strip() for name in services.split(",") if name.strip()] if services else list(self.servers)
        if unknown := [name for name in names if name not in self.servers]:
            raise BackupError(f"Unknown: {', '.join(unknown)}. The services are {', '.join(self.servers)}.")
        password = self.password_file.read_text().strip()
        return [self._server(name, password=password) for name in dict.fromkeys(names)]

    def _server(self, service: str, *, password: str) -> Server:
        host, _, port = self.servers[service].rpartition(":")
        return Server(
            service=service,
            access=Access(host=host, port=int(port), password=password),
            archive=ServiceArchive(folder=self.archive / service),
            data_folder=self.data_folders.get(service),
        )
