"""`python -m services.notifications`: serve, or one of the commands."""

from pathlib import Path

from services.notifications.app import create_app
from services.notifications.models import Base
from services.notifications.settings import Settings
from shared.cli import service_cli

cli = service_cli(
    name="notifications",
    settings_class=Settings,
    create_app=create_app,
    metadata=Base.metadata,
    folder=Path(__file__).parent,
)

if __name__ == "__main__":
    cli()
