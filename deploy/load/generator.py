"""The process that sends the requests: locust. Its gevent patches the standard library, so nothing else runs in it.

It reads a plan from its standard input, prints a line of JSON each second, and ends early after SIGTERM.
"""

import signal
import sys
import time
from collections.abc import Callable

import gevent
from gevent.event import Event
from locust import FastHttpUser, task
from locust.env import Environment
from locust.exception import StopUser
from locust.log import setup_logging

from deploy.load.customer import Shop
from deploy.load.plan import Plan
from deploy.load.recorder import Recorder

STOPPED_SETTLE_SECONDS = 5.0
"""Maximum wait for the last decisions after SIGTERM."""
SPAWNS_PER_SECOND = 10.0
"""Closed loop: customers that enter the shop per second at the beginning."""
CLOSED_LOOP_CONNECTIONS = 4
"""Connections of one customer, who waits for the decision of an order in the background."""


def generate(plan: Plan) -> None:
    """Send the load, and print what happens."""
    recorder, ending = Recorder(), Event()
    shop = Shop(plan, recorder)
    # gevent's own signal handler runs as a greenlet; Python's would run in the middle of any of them.
    gevent.signal_handler(signal.SIGTERM, ending.set)
    customers = _open_loop(shop) if plan.rate is not None else _closed_loop(shop)
    environment = Environment(user_classes=[customers], host=plan.url, stop_timeout=plan.settle_seconds)
    environment.events.request.add_listener(recorder.on_request)  # type: ignore[no-untyped-call] # locust has no types there
    printing = gevent.spawn(_print_each_second, recorder)
    printing.link_exception(lambda _: ending.set())
    runner = environment.create_local_runner()
    runner.start(1 if plan.rate is not None else plan.users or 1, spawn_rate=SPAWNS_PER_SECOND)
    is_stopped = ending.wait(plan.seconds)
    shop.is_ending = True
    _settle(shop, seconds=min(STOPPED_SETTLE_SECONDS, plan.settle_seconds) if is_stopped else plan.settle_seconds)
    printing.kill()
    print(recorder.next_second().dumps(), flush=True)


def _open_loop(shop: Shop) -> type[FastHttpUser]:
    """Return the one user that lets customers begin at their times, whether or not earlier ones have ended."""
    plan = shop.plan

    class Arrivals(FastHttpUser):
        network_timeout = connection_timeout = plan.timeout_seconds
        concurrency = plan.max_in_flight
        ssl_context_factory = staticmethod(_tls(plan))

        @task
        def arrive(self) -> None:
            begun, number = time.monotonic(), 0
            while not shop.is_ending:
                # A random moment of each customer's share of the time: a constant rate, and no common beat.
                at = begun + (number + shop.rng.random()) / (plan.rate or 1)
                gevent.sleep(max(0, at - time.monotonic()))
                number += 1
                self._begin(at)
            raise StopUser

        def _begin(self, at: float) -> None:
            second = shop.recorder.second
            second.late_milliseconds = max(second.late_milliseconds, 1_000 * (time.monotonic() - at))
            if shop.is_ending:
                return
            if shop.recorder.in_flight >= plan.max_in_flight:
                second.left_out += 1
            else:
                gevent.spawn(shop.journey, self.client)

    return Arrivals


def _closed_loop(shop: Shop) -> type[FastHttpUser]:
    """Return the user that begins a journey once the last one has ended."""
    plan = shop.plan

    class Customers(FastHttpUser):
        network_timeout = connection_timeout = plan.timeout_seconds
        concurrency = CLOSED_LOOP_CONNECTIONS
        ssl_context_factory = staticmethod(_tls(plan))

        @task
        def visit(self) -> None:
            if shop.is_ending:
                raise StopUser
            shop.journey(self.client)
            shop.think()

    return Customers


def _tls(plan: Plan) -> Callable[[], gevent.ssl.SSLContext]:
    """Return what makes the context that verifies the target's certificate; locust's default verifies nothing."""
    return lambda: gevent.ssl.create_default_context(cafile=plan.ca_file)


def _settle(shop: Shop, *, seconds: float) -> None:
    """Wait until every journey has ended and every order is decided."""
    with gevent.Timeout(seconds, exception=False):
        while shop.recorder.in_flight or shop.watching:
            gevent.sleep(0.05)


def _print_each_second(recorder: Recorder) -> None:
    at = time.monotonic()
    while True:
        at += 1
        gevent.sleep(max(0, at - time.monotonic()))
        print(recorder.next_second().dumps(), flush=True)


if __name__ == "__main__":
    setup_logging("WARNING")  # type: ignore[no-untyped-call] # locust has no types there
    generate(Plan.loads(sys.stdin.read()))
