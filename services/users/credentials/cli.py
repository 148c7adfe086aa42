"""The operators' command for passwords: build-filter."""
# ruff: noqa: PLC0415 - a command imports what it needs when it runs

from pathlib import Path
from typing import Annotated

import typer


def passwords_cli() -> typer.Typer:
    """Return the commands."""
    cli = typer.Typer(help="Rules for passwords.", no_args_is_help=True)

    @cli.callback()
    def _group() -> None:
        pass

    @cli.command()
    def build_filter(
        passwords: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="One password in each line.")],
        output: Annotated[Path, typer.Argument(dir_okay=False, help="The filter to write.")],
    ) -> None:
        """Make the filter of breached passwords that USERS_BREACHED_PASSWORDS_FILE names."""
        from services.users.credentials.breached_passwords import BreachedPasswords

        with passwords.open(encoding="utf-8", errors="replace", newline="\n") as lines:
            BreachedPasswords.of(line.rstrip("\r\n") for line in lines).save(output)
        typer.echo(f"Wrote {output} ({output.stat().st_size} bytes).")

    return cli
