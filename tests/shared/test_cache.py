"""The cache loads a value once, is invalidated at once, and never makes a request fail."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from datetime import timedelta

import pytest
from pydantic import BaseModel
from redis.exceptions import RedisError
from structlog.testing import capture_logs

from deploy.local.tcp_server import tcp_server
from shared.cache import Cache, open_cache

MINUTE = timedelta(minutes=1)


class Price(BaseModel):
    cents: int


class Source:
    """The source of a cached value. While `gate` is not set, loads wait after they have read the value."""

    def __init__(self) -> None:
        self.cents = 1
        self.loads = 0
        self.reading = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def load(self) -> Price:
        self.loads += 1
        price = Price(cents=self.cents)
        self.reading.set()
        await self.gate.wait()
        return price


def cache_with_long_timeouts(valkey_url: str, *, prefix: str) -> Cache:
    """Open a cache whose time-outs do not pass on a busy machine."""
    return open_cache(valkey_url, prefix=prefix, lease=MINUTE, timeout=MINUTE)


@pytest.fixture
async def cache(valkey_url: str) -> AsyncIterator[Cache]:
    opened = cache_with_long_timeouts(valkey_url, prefix=uuid.uuid4().hex)
    yield opened
    await opened.close()


@pytest.fixture
def source() -> Source:
    return Source()


def reading(cache: Cache, source: Source, *, ttl: timedelta = MINUTE) -> Awaitable[Price]:
    return cache.get_or_load("price:1", ttl=ttl, load=source.load, model=Price, version=1)


async def test_the_second_reader_gets_the_stored_value(cache: Cache, source: Source) -> None:
    assert await reading(cache, source) == Price(cents=1)
    source.cents = 2
    assert await reading(cache, source) == Price(cents=1)
    assert source.loads == 1


async def test_concurrent_misses_in_two_processes_load_once(cache: Cache, source: Source, valkey_url: str) -> None:
    elsewhere = cache_with_long_timeouts(valkey_url, prefix=cache.prefix.rstrip(":"))
    source.gate.clear()
    readers = [asyncio.ensure_future(reading(at, source)) for at in (cache, elsewhere) for _ in range(10)]
    await source.reading.wait()
    source.gate.set()
    assert await asyncio.gather(*readers) == [Price(cents=1)] * 20
    assert source.loads == 1
    await elsewhere.close()


async def test_concurrent_misses_load_once_even_if_the_load_is_quick(
    cache: Cache, source: Source, valkey_url: str
) -> None:
    elsewhere = cache_with_long_timeouts(valkey_url, prefix=cache.prefix.rstrip(":"))
    for number in range(20):
        readers = [
            at.get_or_load(f"price:{number}", ttl=MINUTE, load=source.load, model=Price, version=1)
            for at in (cache, elsewhere)
            for _ in range(10)
        ]
        await asyncio.gather(*readers)
    assert source.loads == 20
    await elsewhere.close()


async def test_an_invalidated_value_is_loaded_again(cache: Cache, source: Source) -> None:
    await reading(cache, source)
    source.cents = 2
    await cache.invalidate("price:1", "price:unknown")
    assert await reading(cache, source) == Price(cents=2)


async def test_a_load_that_began_before_an_invalidation_stores_nothing(cache: Cache, source: Source) -> None:
    source.gate.clear()
    slow_load = asyncio.ensure_future(reading(cache, source))
    await source.reading.wait()
    source.cents = 2
    await cache.invalidate("price:1")
    source.gate.set()
    assert await slow_load == Price(cents=1)
    assert await reading(cache, source) == Price(cents=2)


async def test_a_value_expires_after_its_ttl(cache: Cache, source: Source) -> None:
    await reading(cache, source, ttl=timedelta(milliseconds=50))
    source.cents = 2
    async with asyncio.timeout(20):
        while await reading(cache, source, ttl=timedelta(milliseconds=50)) != Price(cents=2):  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.01)


async def test_a_failed_load_raises_and_releases_the_lease(cache: Cache, source: Source) -> None:
    async def failing() -> Price:
        raise LookupError("no price")

    with pytest.raises(LookupError, match="no price"):
        await cache.get_or_load("price:1", ttl=MINUTE, load=failing, model=Price, version=1)
    async with asyncio.timeout(20):
        assert await reading(cache, source) == Price(cents=1)


async def test_a_cancelled_load_releases_the_lease(cache: Cache, source: Source) -> None:
    source.gate.clear()
    cancelled = asyncio.ensure_future(reading(cache, source))
    await source.reading.wait()
    cancelled.cancel()
    await asyncio.wait([cancelled])
    source.gate.set()
    async with asyncio.timeout(20):
        assert await reading(cache, source) == Price(cents=1)


async def test_a_reader_loads_itself_if_the_holder_of_the_lease_has_died(valkey_url: str, source: Source) -> None:
    cache = open_cache(valkey_url, prefix=uuid.uuid4().hex)
    await cache.client.set(f"{cache.prefix}lease:{{price:1}}", "a killed process", px=60_000)
    async with asyncio.timeout(20):
        assert await reading(cache, source) == Price(cents=1)
    await cache.close()


@pytest.mark.parametrize("stored", [b'{"euros": 3}', b'{"cents": 3}', b'2:{"cents": 3}', b'1:{"euros": 3}'])
async def test_a_value_that_another_version_stored_is_replaced(cache: Cache, source: Source, stored: bytes) -> None:
    await cache.client.set(f"{cache.prefix}cache:{{price:1}}", stored)
    assert await reading(cache, source) == Price(cents=1)
    assert await reading(cache, source) == Price(cents=1)
    await reading(cache, source)
    assert source.loads == 2


async def test_each_version_invalidates_the_values_of_the_other(cache: Cache, source: Source) -> None:
    async def reading_as(version: int) -> int:
        return (await cache.get_or_load("price:1", ttl=MINUTE, load=source.load, model=Price, version=version)).cents

    assert await reading_as(2) == 1
    source.cents = 5
    await cache.invalidate("price:1")
    assert [await reading_as(1), await reading_as(2), await reading_as(1)] == [5, 5, 5]


@pytest.mark.parametrize("value", [None, [], 0, "", False])
async def test_an_empty_value_is_cached(cache: Cache, value: object) -> None:
    loads = 0

    async def load() -> object:
        nonlocal loads
        loads += 1
        return value

    for _ in range(2):
        assert await cache.get_or_load("empty", ttl=MINUTE, load=load, model=object, version=1) == value
    assert loads == 1


async def test_services_that_share_a_valkey_are_separate(cache: Cache, source: Source, valkey_url: str) -> None:
    other = open_cache(valkey_url, prefix="other")
    await reading(cache, source)
    await reading(other, source)
    await other.invalidate("price:1")
    await other.close()
    assert source.loads == 2


@dataclass
class SilentServer:
    """Accepts connections and never responds, as behind a broken network."""

    url: str = ""
    connections: int = 0

    async def swallow(self, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        await reader.read()


@pytest.fixture
async def silent_server() -> AsyncIterator[SilentServer]:
    silent = SilentServer()
    async with tcp_server(silent.swallow) as port:
        silent.url = f"redis://127.0.0.1:{port}/0"
        yield silent


async def use_all(cache: Cache, source: Source) -> list[Price]:
    prices = [await reading(cache, source) for _ in range(5)]
    await cache.invalidate("price:1")
    return prices


async def test_every_reader_loads_without_valkey_and_one_warning_is_logged(source: Source) -> None:
    cache = open_cache("redis://127.0.0.1:1/0")
    with capture_logs() as logs:
        assert await use_all(cache, source) == [Price(cents=1)] * 5
    assert logs == [{"event": "cache_unavailable", "log_level": "warning", "error": "ConnectionError"}]
    assert source.loads == 5
    with pytest.raises(RedisError):
        await cache.ping()
    await cache.close()


async def test_a_valkey_that_never_responds_delays_only_the_first_reader(
    silent_server: SilentServer, source: Source
) -> None:
    cache = open_cache(silent_server.url)
    assert await use_all(cache, source) == [Price(cents=1)] * 5
    # The cache tries again after a second, and a busy machine may take longer than that for the six calls.
    assert silent_server.connections <= 2
    await cache.close()


async def test_the_cache_is_used_again_soon_after_an_outage(valkey_url: str, source: Source) -> None:
    host, port = valkey_url.removeprefix("redis://").split("/")[0].rsplit("@")[-1].split(":")
    up = False

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if up:
            valkey_reader, valkey_writer = await asyncio.open_connection(host, int(port))
            try:
                await asyncio.gather(copy(reader, valkey_writer), copy(valkey_reader, writer))
            finally:
                valkey_writer.close()

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            target.write(data)
        target.close()

    async with tcp_server(forward) as forwarding_port:
        cache = open_cache(f"redis://127.0.0.1:{forwarding_port}/0", prefix=uuid.uuid4().hex)
        await reading(cache, source)
        await reading(cache, source)
        assert source.loads == 2
        up = True
        async with asyncio.timeout(60):
            while not await cache.client.exists(f"{cache.prefix}cache:{{price:1}}"):
                await reading(cache, source)
                await asyncio.sleep(0.02)
        loads = source.loads
        await reading(cache, source)
        assert source.loads == loads
        await cache.close()
