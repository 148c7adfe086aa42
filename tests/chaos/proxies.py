"""Proxies between each service and each of its servers, so that a fault can partition the network between any two."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from deploy.local.credentials import SERVICES
from deploy.local.cutting_proxy import CuttingProxy
from deploy.local.settings import LocalSettings
from tests.harness.greylisting import GreylistingProxy

END_OF_MAIL = b"\r\n.\r\n"


@dataclass(frozen=True, kw_only=True)
class Proxies:
    """The proxies by server and by service. Kafka has one for each broker; the server `users` publishes the keys."""

    by_server: Mapping[str, Mapping[str, Sequence[CuttingProxy]]]
    greylisting: GreylistingProxy
    """Stands between the mail server and the proxy of the notifications service."""

    @property
    def mail(self) -> CuttingProxy:
        """The proxy of the mail server."""
        (proxy,) = self.by_server["mail"]["notifications"]
        return proxy

    def all(self) -> Iterator[CuttingProxy]:
        """Return every proxy that can be cut or partitioned."""
        for by_service in self.by_server.values():
            for proxies in by_service.values():
                yield from proxies

    def cuts(self, server: str) -> int:
        """Return how many connections to a server were cut."""
        return sum(proxy.cuts for proxies in self.by_server[server].values() for proxy in proxies)

    def heal(self) -> None:
        """End every partition, and cut nothing more."""
        for proxy in self.all():
            proxy.heal()
            proxy.disarm()

    def environment(self, service: str, usual: Mapping[str, str], *, settings: LocalSettings) -> dict[str, str]:
        """Return the service's environment with the proxies' ports in place of its servers'."""
        ports = {
            "postgres": settings.postgres_port_of(service),
            "valkey": settings.valkey_port,
            "mail": settings.smtp_port,
            "users": settings.users_port,
        }
        variables = {"postgres": "DATABASE_URL", "valkey": "VALKEY_URL", "mail": "SMTP_URL", "users": "USERS_URL"}
        changed = dict(usual)
        for server, variable in variables.items():
            name = f"{service.upper()}_{variable}"
            for proxy in self.by_server[server].get(service, ()):
                direct = f":{ports[server]}"
                assert direct in changed[name], f"{name} does not lead to {server}"
                changed[name] = changed[name].replace(direct, f":{proxy.port}")
        brokers = ",".join(f"127.0.0.1:{proxy.port}" for proxy in self.by_server["kafka"][service])
        return changed | {f"{service.upper()}_KAFKA_BOOTSTRAP_SERVERS": brokers}


async def open_proxies(
    stack: AsyncExitStack, settings: LocalSettings, *, kafka: Mapping[str, Sequence[CuttingProxy]]
) -> Proxies:
    """Open the proxies until the stack is closed. Those of Kafka exist already, as the brokers know their ports."""
    greylisting = GreylistingProxy(target_port=settings.smtp_port)
    await greylisting.open()
    stack.push_async_callback(greylisting.close)
    proxies = Proxies(
        by_server={
            "postgres": {
                service: [CuttingProxy(target_port=settings.postgres_port_of(service))] for service in SERVICES
            },
            "valkey": {service: [CuttingProxy(target_port=settings.valkey_port)] for service in SERVICES},
            "mail": {"notifications": [CuttingProxy(target_port=greylisting.port, word=END_OF_MAIL)]},
            "users": {
                service: [CuttingProxy(target_port=settings.users_port)] for service in SERVICES if service != "users"
            },
            "kafka": kafka,
        },
        greylisting=greylisting,
    )
    for proxy in proxies.all():
        await proxy.open()
        stack.push_async_callback(proxy.close)
    return proxies
