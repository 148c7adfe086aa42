"""The PostgreSQL server of each service: a service's data can be restored without those of the others."""

from deploy.backup.server import archive_settings
from deploy.local.credentials import Credentials
from deploy.local.postgres import AUDITOR, Postgres, create_database, owner_of, server_of
from deploy.local.settings import LocalSettings

# Each server has a third of the load. Together they take about as much memory and disk as one server for all would.
SETTINGS = {"shared_buffers": "16MB", "max_wal_size": "256MB"}


def postgres_of(service: str, *, settings: LocalSettings, credentials: Credentials) -> Postgres:
    """Return the service's server."""
    return Postgres(
        name=server_of(service),
        folder=settings.postgres_data_of(service),
        port=settings.postgres_port_of(service),
        password=credentials.database_passwords[server_of(service)],
        settings={**SETTINGS, **archive_settings(settings.wal_archive)},
    )


async def create_database_of(service: str, postgres: Postgres, *, credentials: Credentials) -> None:
    """Make the service's database and roles on its server, and set the passwords of roles that exist."""
    await create_database(
        postgres.admin_url,
        name=service,
        password=credentials.database_passwords[service],
        owner_password=credentials.database_passwords[owner_of(service)],
        audit_password=credentials.database_passwords[AUDITOR],
    )
