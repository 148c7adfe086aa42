"""The operators' commands for signing keys: list, rotate, withdraw, reencrypt."""
# ruff: noqa: PLC0415 - a command imports what it needs when it runs

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from services.users.settings import Settings
from shared.operations.tool import Actor, AsJson, Tool, actor_of

if TYPE_CHECKING:
    from services.users.encryption import Encryption
    from services.users.sessions.signing_keys import NewKey
    from shared.database import Sessions

LoadSettings = Callable[[], Settings]


def keys_cli(package: str, load_settings: LoadSettings) -> typer.Typer:
    """Return the commands."""
    cli = typer.Typer(help="The keys that sign access tokens, and the encryption of secrets.", no_args_is_help=True)
    tool = Tool(package, load_settings)
    _add_list(cli, tool)
    _add_rotate(cli, tool, load_settings)
    _add_withdraw(cli, tool, load_settings)
    _add_reencrypt(cli, tool, load_settings)
    return cli


def _add_list(cli: typer.Typer, tool: Tool) -> None:
    @cli.command(name="list")
    def list_keys(*, as_json: AsJson = False) -> None:
        """List the keys: the one that signs, those that only verify, and those that wait or were withdrawn."""

        async def work(sessions: "Sessions") -> bool:
            from services.users.sessions.signing_keys import keys_newest_first
            from shared.operations.output import print_json, print_table

            async with sessions() as session:
                keys = await keys_newest_first(session)
            if as_json:
                print_json(keys)
            else:
                print_table(
                    ("kid", "state", "created", "signs from"),
                    [(key.kid, key.state, key.created_at, key.signs_from) for key in keys],
                )
            return True

        tool.run(work)


def _add_rotate(cli: typer.Typer, tool: Tool, load_settings: LoadSettings) -> None:
    @cli.command()
    def rotate(
        *,
        now: Annotated[
            bool,
            typer.Option(
                "--now",
                help="Sign with the new key at once. For emergencies: for seconds, services may refuse its tokens.",
            ),
        ] = False,
        actor: Actor = None,
        as_json: AsJson = False,
    ) -> None:
        """Publish a new key, which signs after USERS_SIGNING_KEY_OVERLAP_MINUTES. No request is refused.

        The present key verifies until its last token has expired; a job deletes it then.
        """
        settings = load_settings()
        encryption = _encryption_of(settings)
        overlap = timedelta(0) if now else settings.signing_key_overlap

        async def work(sessions: "Sessions") -> bool:
            from services.users.sessions import signing_keys

            async with sessions.begin() as session:
                new = await signing_keys.rotate(session, encryption=encryption, overlap=overlap, actor=actor_of(actor))
            _print_new(new, as_json=as_json)
            return True

        tool.run(work)


def _add_withdraw(cli: typer.Typer, tool: Tool, load_settings: LoadSettings) -> None:
    @cli.command()
    def withdraw(kid: str, *, actor: Actor = None, as_json: AsJson = False) -> None:
        """Withdraw a stolen key: all services refuse its tokens within seconds, and their users refresh."""
        encryption = _encryption_of(load_settings())

        async def work(sessions: "Sessions") -> bool:
            from services.users.sessions import signing_keys
            from shared.operations.output import print_json, print_line

            async with sessions.begin() as session:
                new = await signing_keys.withdraw(session, encryption=encryption, kid=kid, actor=actor_of(actor))
            if new is not None:
                _print_new(new, as_json=as_json)
            elif as_json:
                print_json(None)
            else:
                print_line(f"{kid} is withdrawn")
            return True

        tool.run(work)


def _add_reencrypt(cli: typer.Typer, tool: Tool, load_settings: LoadSettings) -> None:
    @cli.command()
    def reencrypt(*, as_json: AsJson = False) -> None:
        """Encrypt every secret anew with the first key of USERS_ENCRYPTION_KEYS_FILE; the others can then be removed.

        Restart the processes with the new file first. Repeatable.
        """
        encryption = _encryption_of(load_settings())

        async def work(sessions: "Sessions") -> bool:
            from services.users.sessions.reencryption import reencrypt_all
            from shared.operations.output import print_json, print_table

            done = await reencrypt_all(sessions, encryption=encryption)
            if as_json:
                print_json(done)
            else:
                print_table(("column", "secrets"), done.items())
            return True

        tool.run(work)


def _encryption_of(settings: Settings) -> "Encryption":
    from services.users.encryption import EncryptionKeysInvalid, load_encryption

    try:
        return load_encryption(settings.encryption_keys_file)
    except EncryptionKeysInvalid as invalid:
        typer.echo(str(invalid), err=True)
        raise typer.Exit(2) from invalid


def _print_new(new: "NewKey", *, as_json: bool) -> None:
    from shared.operations.output import print_json, print_line

    if as_json:
        print_json(new)
    else:
        print_line(f"{new.kid} signs from {new.signs_from:%Y-%m-%d %H:%M:%S} UTC")
