"""Builders of hand-written histories."""

from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import count
from typing import Any

from tests.chaos.histories.checker import check
from tests.chaos.histories.history import Answer, CreditStep, FinalState, Observed, Request, Resource, TimelineEntry
from tests.chaos.oracle import violated

ME, LAMP, ORDER = "/v1/users/me", "/v1/products/LAMP", "/v1/orders/1"
USER = Resource("users", "ada")
CREDIT = Resource("credit", "ada")
CACHE_SECONDS = 8.0
_numbers = count(1)


def request(
    method: str,
    path: str,
    started: float,
    ended: float,
    status: int | None = 200,
    *,
    code: str = "",
    version: int | None = None,
    if_match: int | None = None,
    key: str | None = None,
    sent: Mapping[str, Any] | None = None,
    body: Mapping[str, Any] | None = None,
    is_replayed: bool = False,
) -> Request:
    """Build a request of the user `ada`. A `status` of None is a connection that broke."""
    body = body or {}
    answer = Answer(
        status=status or 0,
        code=code,
        version=version,
        body=body,
        digest=str(sorted(body.items())),
        is_replayed=is_replayed,
    )
    return Request(
        number=next(_numbers),
        session="a",
        caller="ada",
        method=method,
        path=path,
        started=started,
        ended=ended,
        sent_at=datetime.now(UTC),
        sent=sent or {},
        key=key,
        if_match=if_match,
        answer=None if status is None else answer,
    )


def order(started: float, ended: float, status: int | None = 201, order_id: str = "1", **more: Any) -> Request:
    """Build a request that places an order with the key `k`."""
    body = {"id": order_id} if status == 201 else {}
    version = 1 if status == 201 else None
    return request("POST", "/v1/orders", started, ended, status, key="k", body=body, version=version, **more)


def state(
    *orders: str,
    limit_cents: int = 1_000,
    name: str = "Ada",
    names: tuple[str, ...] = (),
    timeline: tuple[TimelineEntry, ...] = (),
    credit: tuple[tuple[str, int, int], ...] = (),
) -> FinalState:
    """Build a state with the user, the product and these orders. `credit`: order, cents and refunds of each step."""
    return FinalState(
        versions={USER: 9, Resource("products", "LAMP"): 9} | {Resource("orders", one): 9 for one in orders},
        fields={USER: {"name": name}, CREDIT: {"limit_cents": limit_cents}},
        updates={USER: [{"name": one} for one in names]},
        orders_of={"ada": frozenset(orders)},
        timelines={"1": timeline},
        credit_steps={
            "ada": [
                CreditStep(sequence=number, order=one, cents=cents, refunded_cents=refunded)
                for number, (one, cents, refunded) in enumerate(credit, start=1)
            ]
        },
    )


def limit(started: float, ended: float, cents: int, status: int | None = 200) -> Request:
    """Build a request that sets the credit limit."""
    return request("PUT", "/v1/users/ada/credit-limit", started, ended, status, sent={"limit_cents": cents})


def violations(*requests: Request, final: FinalState | None = None, **observed: Any) -> set[str]:
    """Return the names of the violated rules."""
    final = final or state("1", name="new")
    return set(violated(check(Observed(requests=requests, final=final, cache_seconds=CACHE_SECONDS, **observed))))


def change(started: float, ended: float, version: int, path: str = ME, name: str = "new", **more: Any) -> Request:
    """Build a change of a name that has made this version."""
    return request("PATCH", path, started, ended, version=version, sent={"name": name}, **more)
