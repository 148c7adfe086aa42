"""The networks that clients are counted by: what one of them can easily have many addresses of."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

IPNetwork = IPv4Network | IPv6Network

HOST_PREFIX = {4: 32, 6: 64}
"""Length of the prefix that one client has: whoever has one IPv6 address usually has all of its /64."""
SITE_PREFIX = {4: 24, 6: 48}
"""Length of the prefix that one site has, and that a cloud lets for little money."""


@dataclass(frozen=True)
class ClientNetworks:
    """The keys that requests from an address are counted on."""

    host: str
    """The IPv4 address, or the /64 of an IPv6 address."""
    site: str
    """The /24 of an IPv4 address, or the /48 of an IPv6 address. This much is logged."""
    is_shared: bool
    """Whether many clients have this address, so that nothing should be counted on it alone."""


def networks_of(address: str, *, shared: Sequence[IPNetwork] = ()) -> ClientNetworks:
    """Return the networks of a client's address. One that is no IP address, such as `unknown`, stands for itself."""
    try:
        parsed = _unmapped(ip_address(address.partition("%")[0]))
    except ValueError:
        return ClientNetworks(address, address, is_shared=False)
    return ClientNetworks(
        host=str(ip_network((parsed, HOST_PREFIX[parsed.version]), strict=False)),
        site=str(ip_network((parsed, SITE_PREFIX[parsed.version]), strict=False)),
        is_shared=any(parsed in network for network in shared),
    )


def _unmapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address that an IPv6 socket shows as ::ffff:192.0.2.1."""
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address
