"""The command `create-user`: creates a user with a verified address, or grants roles to a known one."""
# ruff: noqa: PLC0415 - a command imports what it needs when it runs

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.users.settings import Settings
from shared.command import run_command
from shared.logging import configure_logging
from shared.operations.tool import Actor, actor_of
from shared.settings import load

if TYPE_CHECKING:
    from services.users.accounts.schemas import SignUp
    from services.users.administration.creation import Created, Known
    from services.users.models.accounts import Role

NOT_GRANTED = 3
"""The exit status if the account exists, lacks a wanted role, and does not get it."""


def create_user(
    *,
    email: Annotated[str, typer.Option()],
    name: Annotated[str, typer.Option()],
    password_file: Annotated[
        Path, typer.Option(exists=True, dir_okay=False, help="File whose first line is the password.")
    ],
    role: Annotated[list[str] | None, typer.Option(help="customer, support or admin; repeat for several.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Grant missing roles to an existing user without asking.")] = False,
    actor: Actor = None,
) -> None:
    """Create a user with a verified address. An existing user is only offered the roles that it lacks."""
    from services.users.administration import creation

    try:
        roles = creation.roles_of(role or ["customer"])
    except creation.RoleUnknown as unknown:
        raise typer.BadParameter(str(unknown), param_hint="--role") from unknown
    settings = load(Settings)
    configure_logging("users", level=settings.log_level, format=settings.log_format)
    user = _validated(email, name, password_file)
    outcome = _created(settings, user, roles=roles, actor=actor_of(actor))
    if isinstance(outcome, creation.Created):
        typer.echo(f"Created {user.email}.")
        return
    typer.echo(f"{user.email} exists already; its password and name stay as they are.")
    if outcome.missing:
        _require_consent(outcome, is_given=yes)
        run_command(creation.grant(settings, email=user.email, roles=outcome.missing, actor=actor_of(actor)))
        typer.echo(f"Granted {_listed(outcome.missing)}.")


def _validated(email: str, name: str, password_file: Path) -> "SignUp":
    from pydantic import ValidationError

    from services.users.accounts.schemas import SignUp

    lines = password_file.read_text().splitlines()
    try:
        return SignUp.model_validate({"email": email, "name": name, "password": lines[0] if lines else ""})
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_input=False, include_context=False):
            typer.echo(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}", err=True)
        raise typer.Exit(2) from None


def _created(settings: Settings, user: "SignUp", *, roles: "list[Role]", actor: str) -> "Created | Known":
    from services.users.administration.creation import create_user
    from services.users.credentials.policy import PASSWORD_PROBLEMS

    try:
        return run_command(create_user(settings, user, roles=roles, actor=actor))
    except PASSWORD_PROBLEMS as problem:
        typer.echo(f"password: {problem.title}. {problem}", err=True)
        raise typer.Exit(2) from None


def _require_consent(known: "Known", *, is_given: bool) -> None:
    """Ask whether to grant the missing roles. Raises: typer.Exit if they are not to be granted."""
    missing = _listed(known.missing)
    if known.status in {"erasing", "erased"}:
        typer.echo("It is being erased.", err=True)
        raise typer.Exit(NOT_GRANTED)
    if known.status != "active":
        typer.echo(f"It is {known.status}.", err=True)
    if not known.is_verified:
        # Anybody can sign up with any address. Without a proof, the role could go to a stranger.
        typer.echo("Its address was never verified, so it may belong to somebody else.", err=True)
        is_given = False
    if is_given:
        return
    if not sys.stdin.isatty():
        hint = "Repeat with --yes to grant it." if known.is_verified else "Run the command in a terminal to grant it."
        typer.echo(f"It lacks {missing}. {hint}", err=True)
        raise typer.Exit(NOT_GRANTED)
    if not typer.confirm(f"It lacks {missing}. Grant it?"):
        raise typer.Exit(NOT_GRANTED)


def _listed(roles: "tuple[Role, ...]") -> str:
    return f"the role{'s' if len(roles) > 1 else ''} {', '.join(roles)}"
