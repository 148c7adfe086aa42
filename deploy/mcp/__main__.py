"""`python -m deploy.mcp`: serve the tools over stdio, or over HTTP on the loopback address."""

from typing import Annotated, Literal

import typer

from deploy.console.client import ConsoleClient
from deploy.mcp.server import create_server

DEFAULT_PORT = 8091

cli = typer.Typer(pretty_exceptions_enable=False)


@cli.command()
def serve(
    *,
    transport: Annotated[Literal["stdio", "http"], typer.Option(help="The transport of MCP.")] = "stdio",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port of HTTP on 127.0.0.1; the path is /mcp.")] = (
        DEFAULT_PORT
    ),
    allow_changes: Annotated[bool, typer.Option(help="Offer the tools that replay and discard dead letters.")] = False,
) -> None:
    """Serve the tools of the console at CONSOLE_URL, with the access token of CONSOLE_TOKEN or CONSOLE_TOKEN_FILE.

    The tools only read, unless changes are allowed. Over HTTP, whoever reaches the port may use them: the server
    listens on the loopback address only, and refuses requests that name another host.
    """
    server = create_server(ConsoleClient.from_environment(), may_change=allow_changes)
    if transport == "stdio":
        server.run("stdio")
    else:
        server.run("streamable-http", host="127.0.0.1", port=port)


if __name__ == "__main__":
    cli(prog_name="python -m deploy.mcp")
