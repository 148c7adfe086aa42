"""`python -m services.notifications`: serve, or run a command."""

from services.notifications.settings import Settings
from shared.cli import service_cli

cli = service_cli("services.notifications", settings_class=Settings)

if __name__ == "__main__":
    cli()
