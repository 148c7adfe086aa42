"""Faults of databases: an immediate shutdown, ended backends, and a connection that is cut after COMMIT."""

import os
import signal
from dataclasses import replace
from urllib.parse import urlsplit

from deploy.faults.parameters import Cuts, OfService
from deploy.faults.target import Injected, Target
from deploy.local.control_protocol import ControlError
from deploy.local.cutting_proxy import CuttingProxy
from deploy.local.postgres import server_of
from shared.connection_errors import CONNECTION_ERRORS

_TERMINATE = """
    SELECT count(*) FROM (
        SELECT pg_terminate_backend(pid) AS was_ended FROM pg_stat_activity
        WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
    ) AS ended WHERE was_ended
"""


async def shut_down_postgres(target: Target, parameters: OfService) -> Injected:
    """Shut a PostgreSQL server down at once, as a crash would: it recovers from its write-ahead log."""
    server = server_of(parameters.service)
    pid = target.pid_of(server)
    os.kill(pid, signal.SIGQUIT)

    async def is_ready() -> bool:
        return target.is_ready_after(server, pid=pid) and await target.is_ready(parameters.service)

    return Injected(
        did=f"Shut {server} (pid {pid}) down at once, with SIGQUIT.",
        details={"process": server, "pid": pid},
        has_ended=is_ready,
    )


async def terminate_backends(target: Target, parameters: OfService) -> Injected:
    """End all connections to a service's database."""
    service = parameters.service
    try:
        async with target.connected(service) as connection:
            ended = await connection.fetchval(_TERMINATE)
    except CONNECTION_ERRORS as error:
        raise ControlError("unavailable", f"{server_of(service)} does not answer ({type(error).__name__}).") from error

    async def is_ready() -> bool:
        return await target.is_ready(service)

    return Injected(
        did=f"Ended {ended} connections to the database of {service}.",
        details={"service": service, "connections": ended},
        has_ended=is_ready,
    )


async def cut_after_commit(target: Target, parameters: Cuts) -> Injected:
    """Cut connections between COMMIT and its reply: the database has committed, and the service does not know.

    The first time it restarts the service with a database URL that leads through a proxy.
    """
    service = parameters.service
    target.pid_of(service)
    is_new = service not in target.proxies
    if is_new:
        await _restart_through_proxy(target, service)
    proxy = target.proxies[service]
    proxy.arm(parameters.times)
    wanted = proxy.cuts + proxy.armed

    async def are_cut() -> bool:
        return proxy.cuts >= wanted and await target.is_ready(service)

    restarted = f"Restarted {service} with its database behind a proxy. " if is_new else ""
    return Injected(
        did=f"{restarted}The next {proxy.armed} commits of {service} lose their reply.",
        details={"service": service, "proxy_port": proxy.port, "cuts": proxy.cuts, "armed": proxy.armed},
        has_ended=are_cut,
    )


async def _restart_through_proxy(target: Target, service: str) -> None:
    supervisor = target.supervisor
    normal = supervisor.lifecycles[service].program
    name = f"{service.upper()}_DATABASE_URL"
    url = urlsplit(normal.environment[name])
    proxy = CuttingProxy(target_port=url.port or 5432)
    await proxy.open()
    proxied = url._replace(netloc=f"{url.netloc.rpartition(':')[0]}:{proxy.port}").geturl()
    await supervisor.stop_one(service)
    target.proxies[service] = proxy
    await supervisor.start(replace(normal, environment={**normal.environment, name: proxied}), instead_of=normal)
