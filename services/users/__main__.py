"""`python -m services.users`: serve, or run a command."""

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from services.users.credentials.cli import passwords_cli
from services.users.credit.cli import credit_cli
from services.users.sessions.keys_cli import keys_cli
from services.users.settings import Settings
from shared.cli import service_cli
from shared.command import run_command
from shared.logging import configure_logging
from shared.operations.tool import Tool
from shared.settings import StorageSettings, load

PACKAGE = "services.users"

cli = service_cli(PACKAGE, settings_class=Settings)
tool = Tool(PACKAGE, lambda: load(StorageSettings, prefix=Settings.model_config["env_prefix"]))
cli.add_typer(credit_cli(tool), name="credit")
cli.add_typer(passwords_cli(), name="passwords")
cli.add_typer(keys_cli(PACKAGE, lambda: load(Settings)), name="keys")


@cli.command()
def create_user(
    email: Annotated[str, typer.Option()],
    name: Annotated[str, typer.Option()],
    password_file: Annotated[
        Path, typer.Option(exists=True, dir_okay=False, help="File whose first line is the password.")
    ],
    role: Annotated[list[str] | None, typer.Option(help="customer, support or admin; repeat for several.")] = None,
) -> None:
    """Create a user with a verified address. An existing user is not changed."""
    from services.users.accounts.creation import RoleUnknown, create_verified_account, roles_of
    from services.users.accounts.schemas import SignUp
    from services.users.credentials.policy import PASSWORD_PROBLEMS

    try:
        roles = roles_of(role or ["customer"])
    except RoleUnknown as unknown:
        raise typer.BadParameter(str(unknown), param_hint="--role") from unknown
    settings = load(Settings)
    configure_logging("users", level=settings.log_level, format=settings.log_format)
    lines = password_file.read_text().splitlines()
    try:
        user = SignUp.model_validate({"email": email, "name": name, "password": lines[0] if lines else ""})
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_input=False, include_context=False):
            typer.echo(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}", err=True)
        raise typer.Exit(2) from None
    try:
        is_new = run_command(create_verified_account(settings, user, roles=roles))
    except PASSWORD_PROBLEMS as problem:
        typer.echo(f"password: {problem.title}. {problem}", err=True)
        raise typer.Exit(2) from None
    typer.echo(f"Created {user.email}." if is_new else f"{user.email} exists already.")


if __name__ == "__main__":
    cli()
