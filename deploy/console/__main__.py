"""`python -m deploy.console`: serve the console, or ask a running one."""
# ruff: noqa: PLC0415 - a command imports what it needs when it runs

import typer

from deploy.console.commands.changes import add_changes
from deploy.console.commands.reads import add_reads

cli = typer.Typer(
    help="The console of Orderly. `serve` reads CONSOLE_* from the environment; the other commands ask the console at "
    "CONSOLE_URL, with the access token of CONSOLE_TOKEN or CONSOLE_TOKEN_FILE if it needs one.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
add_reads(cli)
add_changes(cli)


@cli.command()
def serve() -> None:
    """Serve the pages and the API. SIGTERM finishes open requests and exits."""
    import uvicorn

    from deploy.console.app import create_app
    from deploy.console.settings import ConsoleSettings
    from shared.logging import configure_logging
    from shared.settings import load

    settings = load(ConsoleSettings)
    configure_logging("console", level=settings.log_level, format=settings.log_format)
    uvicorn.run(
        create_app(settings),
        host=settings.http_host,
        port=settings.http_port,
        log_config=None,
        access_log=False,
        server_header=False,
        forwarded_allow_ips=settings.trusted_proxies,
        timeout_graceful_shutdown=5,
    )


if __name__ == "__main__":
    cli(prog_name="python -m deploy.console")
