"""The tools. Each asks the console's API, so that access, records and limits are those of an operator."""

from collections.abc import Awaitable
from typing import Annotated, Any, Literal

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations
from pydantic import Field

from deploy.console.client import ConsoleClient, ConsoleError
from deploy.console.settings import ServiceName

_READS = ToolAnnotations(read_only_hint=True, destructive_hint=False, open_world_hint=False)
_CHANGES = ToolAnnotations(read_only_hint=False, destructive_hint=True, open_world_hint=False)

Reference = Annotated[str, Field(description="An order's number or id, an event's id, or a customer's e-mail address.")]
Consumer = Annotated[str | None, Field(description="Only this consumer, such as orders.users.")]
Key = Annotated[str | None, Field(description="Only events with this key, such as an order's id.")]


def create_server(console: ConsoleClient, *, may_change: bool = False) -> MCPServer:
    """Return a server with the tools that read, and with `may_change` those that replay and discard dead letters."""
    server = MCPServer(
        "orderly",
        instructions="Read the state of an Orderly system. Begin with `health`; for an order, with `order_journey`.",
    )
    _add_reads(server, console)
    _add_lists(server, console)
    if may_change:
        _add_changes(server, console)
    return server


def _add_reads(server: MCPServer, console: ConsoleClient) -> None:
    @server.tool(annotations=_READS)
    async def health() -> dict[str, Any]:
        """Return each service's health with its failed checks and their history, and the processes if it is local."""
        return await _answer(console.get("/system"))

    @server.tool(annotations=_READS)
    async def order_journey(order: Reference) -> dict[str, Any]:
        """Return where an order is: one timeline over all services, whether it is stuck, why, and what helps."""
        return await _answer(console.get("/orders", query=order))

    @server.tool(annotations=_READS)
    async def stuck() -> dict[str, Any]:
        """Return the orders, deliveries and jobs that do not proceed, each with the reason and what helps."""
        return await _answer(console.get("/stuck"))

    @server.tool(annotations=_READS)
    async def audit() -> dict[str, Any]:
        """Return each invariant over all services, with the data that contradict it."""
        return await _answer(console.get("/invariants"))

    @server.tool(annotations=_READS)
    async def flow() -> dict[str, Any]:
        """Return rates, waiting events, lag and delays of each topic and consumer."""
        return await _answer(console.get("/flow"))


def _add_lists(server: MCPServer, console: ConsoleClient) -> None:
    @server.tool(annotations=_READS)
    async def dead_letters(consumer: Consumer = None, key: Key = None) -> dict[str, Any]:
        """Return the events that could not be applied, with their errors, and the keys that they block."""
        return await _answer(console.get("/dead-letters", consumer=consumer, key=key))

    @server.tool(annotations=_READS)
    async def events(topic: Literal["users", "orders", "products", "notifications"], key: Key = None) -> dict[str, Any]:
        """Return the last events of a topic, newest first."""
        return await _answer(console.get(f"/flow/topics/{topic}/events", key=key))

    @server.tool(annotations=_READS)
    async def metrics(
        prefix: Annotated[str, Field(description="The beginning of the metrics' names, such as outbox_.")],
        service: ServiceName | None = None,
    ) -> dict[str, Any]:
        """Return the values of metrics, with their increase per second."""
        return await _answer(console.get("/metrics", prefix=prefix, target=service))


def _add_changes(server: MCPServer, console: ConsoleClient) -> None:
    @server.tool(annotations=_CHANGES)
    async def replay_dead_letters(
        service: ServiceName, consumer: Consumer = None, key: Key = None, dry_run: bool = True
    ) -> dict[str, Any]:
        """Apply dead letters again, each key in order and up to its first failure. By default a dry run."""
        body = {"action": "replay", "consumer": consumer, "key": key, "dry_run": dry_run}
        return await _answer(console.post(f"/dead-letters/{service}/actions", body))

    @server.tool(annotations=_CHANGES)
    async def discard_dead_letters(
        service: ServiceName,
        note: Annotated[str, Field(min_length=1, description="The reason, for the record.")],
        consumer: Consumer = None,
        key: Key = None,
        dry_run: bool = True,
    ) -> dict[str, Any]:
        """Discard dead letters for good, and apply what only they had blocked. By default a dry run."""
        body = {"action": "discard", "consumer": consumer, "key": key, "note": note, "dry_run": dry_run}
        return await _answer(console.post(f"/dead-letters/{service}/actions", body))


async def _answer(request: Awaitable[Any]) -> dict[str, Any]:
    try:
        found: dict[str, Any] = await request
    except ConsoleError as error:
        raise ToolError(str(error)) from error
    return found
