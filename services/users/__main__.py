"""`python -m services.users`: serve, or run a command."""

from services.users.administration.cli import create_user
from services.users.credentials.cli import passwords_cli
from services.users.credit.cli import credit_cli
from services.users.erasure.cli import erasures_cli
from services.users.sessions.keys_cli import keys_cli
from services.users.settings import Settings
from shared.cli import service_cli
from shared.operations.tool import Tool
from shared.settings import StorageSettings, load

PACKAGE = "services.users"

cli = service_cli(PACKAGE, settings_class=Settings)
tool = Tool(PACKAGE, lambda: load(StorageSettings, prefix=Settings.model_config["env_prefix"]))
cli.add_typer(credit_cli(tool), name="credit")
cli.add_typer(erasures_cli(tool), name="erasures")
cli.add_typer(passwords_cli(), name="passwords")
cli.add_typer(keys_cli(PACKAGE, lambda: load(Settings)), name="keys")
cli.command()(create_user)


if __name__ == "__main__":
    cli()
