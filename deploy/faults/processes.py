"""Faults of processes: killed, suspended, or stopped for some time."""

import asyncio
from contextlib import suppress

import asyncpg

from deploy.faults.parameters import NoParameters, OfService, Outage, Suspension
from deploy.faults.target import Injected, Target
from deploy.local.control_protocol import ControlError
from deploy.local.lifecycle import State
from shared.connection_errors import CONNECTION_ERRORS

_LEASE = "SELECT owner, epoch FROM relay_lease WHERE expires_at > clock_timestamp() ORDER BY shard LIMIT 1"


async def kill_service(target: Target, parameters: OfService) -> Injected:
    """Kill a service."""
    return _kill(target, parameters.service)


async def kill_broker(target: Target, _parameters: NoParameters) -> Injected:
    """Kill Kafka."""
    return _kill(target, "kafka")


async def kill_valkey(target: Target, _parameters: NoParameters) -> Injected:
    """Kill Valkey."""
    return _kill(target, "valkey")


async def kill_gateway(target: Target, _parameters: NoParameters) -> Injected:
    """Kill the gateway."""
    return _kill(target, "gateway")


async def kill_leading_relay(target: Target, parameters: OfService) -> Injected:
    """Kill the process whose relay holds the lease of a service's database. Here each service is one process."""
    service = parameters.service
    pid = target.pid_of(service)
    lease = await _lease(target, service)
    if lease is None:
        raise ControlError("unavailable", f"No relay leads {service} now: the last lease has expired.")
    target.supervisor.kill(service)

    async def leads_again() -> bool:
        newer = await _lease(target, service)
        return newer is not None and newer["epoch"] > lease["epoch"]

    return Injected(
        did=f"Killed {service} (pid {pid}), whose relay held the lease of {service} in epoch {lease['epoch']}.",
        details={"process": service, "pid": pid, "epoch": lease["epoch"]},
        has_ended=leads_again,
    )


async def suspend_consumer(target: Target, parameters: Suspension) -> Injected:
    """Suspend the process of a service's consumers."""
    service, seconds = parameters.service, parameters.seconds
    pid = target.pid_of(service)
    target.supervisor.suspend(service, seconds=seconds)

    async def continues() -> bool:
        return await target.is_ready(service)

    return Injected(
        did=f"Suspended {service} (pid {pid}) for {seconds:g} s.",
        details={"process": service, "pid": pid, "seconds": seconds},
        has_ended=continues,
    )


async def stop_mail(target: Target, parameters: Outage) -> Injected:
    """Stop the mail server, and start it again after some time unless somebody has done so."""
    target.pid_of("mail")
    await target.supervisor.stop_one("mail")

    async def start_again() -> None:
        await asyncio.sleep(parameters.seconds)
        lifecycle = target.supervisor.lifecycles["mail"]
        if lifecycle.state is State.STOPPED:
            await target.supervisor.start(lifecycle.program)

    target.background.start(start_again())

    async def answers() -> bool:
        return target.supervisor.lifecycles["mail"].state is State.READY

    return Injected(
        did=f"Stopped the mail server for {parameters.seconds:g} s.",
        details={"process": "mail", "seconds": parameters.seconds},
        has_ended=answers,
    )


def _kill(target: Target, process: str) -> Injected:
    pid = target.pid_of(process)
    target.supervisor.kill(process)

    async def is_ready() -> bool:
        return target.is_ready_after(process, pid=pid)

    return Injected(did=f"Killed {process} (pid {pid}).", details={"process": process, "pid": pid}, has_ended=is_ready)


async def _lease(target: Target, service: str) -> asyncpg.Record | None:
    with suppress(*CONNECTION_ERRORS):
        async with target.connected(service) as connection:
            return await connection.fetchrow(_LEASE)
    return None
