"""`python -m services.notifications`: serve, or run a command."""

from services.notifications.deliveries_cli import deliveries_cli
from services.notifications.notifications_cli import notifications_cli
from services.notifications.settings import Settings
from shared.cli import service_cli
from shared.operations.tool import Tool
from shared.settings import StorageSettings, load

PACKAGE = "services.notifications"

cli = service_cli(PACKAGE, settings_class=Settings)
tool = Tool(PACKAGE, lambda: load(StorageSettings, prefix=Settings.model_config["env_prefix"]))
cli.add_typer(deliveries_cli(tool), name="deliveries")
cli.add_typer(notifications_cli(tool), name="notifications")

if __name__ == "__main__":
    cli()
