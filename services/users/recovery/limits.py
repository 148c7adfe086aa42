"""Limits of mails that somebody asks for who may not own the address."""

from contextlib import suppress
from datetime import timedelta
from ipaddress import IPv6Address, ip_address, ip_network

from fastapi import Request

from shared.http.rate_limit import Limit, RateLimited, RateLimiter, client_address

IPV6_PREFIX = 64
"""Bits of an IPv6 address that name a network: one customer of a provider has at least such a network."""
MAILS_PER_ADDRESS = Limit.parse("5/hour")
"""Requests for mails to one address, whoever sends them, and whether or not an account has the address."""


async def client_network(request: Request) -> str:
    """Return a key for the client's network: the IPv4 address, or the /64 of the IPv6 address."""
    address = client_address(request)
    with suppress(ValueError):
        parsed = ip_address(address)
        if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is None:
            return f"network {ip_network((parsed.packed, IPV6_PREFIX), strict=False)}"
    return f"network {address}"


async def limit_mails_to(email: str, *, request: Request) -> None:
    """Count a request for a mail to this address. Raises: RateLimited, for known and unknown addresses alike."""
    limiter: RateLimiter = request.app.state.rate_limiter
    window = await limiter.hit(MAILS_PER_ADDRESS, "mails", email.lower())
    if window is not None and not window[0]:
        raise RateLimited(retry_after=timedelta(seconds=window[2]))
