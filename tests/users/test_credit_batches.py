"""A batch of events changes credit as the same events one by one do, in a fixed number of statements."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from services.users.models.credit import CreditAccount, CreditReservation
from services.users.subscribers import CreditEvent, change_credit
from shared.messaging.envelope import Received
from shared.telemetry import new_trace, traceparent_of
from tests.harness.builders import received
from tests.harness.executed_statements import executed_statements
from tests.users.ledger import deltas_of, ledger_of
from tests.users.orders import Order
from tests.users.service import UsersService

LIMITS_CENTS = (100_000, 1_500, 700)


@dataclass
class Scenario:
    """Orders of some users, and what happened to them. The first user's account is suspended, the last is unknown."""

    user_ids: list[UUID]
    orders: list[Order]
    events: list[Received]

    @classmethod
    async def create(cls, service: UsersService, *, name: str, seed: int) -> "Scenario":
        """Create users; the same seed leads to the same events, for other users and orders."""
        choose = random.Random(seed)  # noqa: S311 - a test's data
        accounts = [
            await service.create_account(email=f"{name}-{number}@orderly.example", limit_cents=limit_cents)
            for number, limit_cents in enumerate((5_000, *LIMITS_CENTS))
        ]
        async with service.sessions.begin() as session:
            suspend = sa.text("UPDATE user_account SET status = 'suspended' WHERE id = :id")
            await session.execute(suspend, {"id": accounts[0].id})
        user_ids = [*(account.id for account in accounts), uuid4()]
        orders = [
            Order(
                choose.choice(user_ids),
                total_cents=choose.randrange(0, 900),
                currency=choose.choice(["GBP", "GBP", "GBP", "EUR"]),
            )
            for _ in range(20)
        ]
        chosen = [choose.choice(orders) for _ in range(150)]
        return cls(user_ids, orders, list(_numbered([_random_event(order, choose, user_ids) for order in chosen])))

    async def outcome(self, service: UsersService) -> tuple[Any, ...]:
        """Return the accounts, reservations, ledgers and replies, with positions instead of ids."""
        names = {str(id_): n for n, id_ in enumerate([*self.user_ids, *(order.id for order in self.orders)])}
        async with service.sessions() as session:
            accounts = [await session.get(CreditAccount, user_id) for user_id in self.user_ids]
            reservations = [await session.get(CreditReservation, order.id) for order in self.orders]
            ledgers = [await ledger_of(session, user_id) for user_id in self.user_ids[:-1]]
        return (
            [each and (each.reserved_cents, each.used_cents) for each in accounts],
            [
                each and (names[str(each.user_id)], each.amount_cents, each.refunded_cents, each.status, each.reason)
                for each in reservations
            ],
            [
                [(each.kind, each.order_id and names[str(each.order_id)], *deltas_of(each)) for each in ledger]
                for ledger in ledgers
            ],
            [
                (type_, data | {"order_id": names[data["order_id"]], "user_id": names[data["user_id"]]})
                for type_, data in await service.events()
                if data["order_id"] in names
            ],
        )


def _random_event(order: Order, choose: random.Random, user_ids: Sequence[UUID]) -> CreditEvent:
    if choose.random() < 0.05:
        order = order.of(choose.choice(user_ids))
    refunded_cents = choose.randrange(0, 1_000)
    events = [
        order.created(),
        order.created(),
        order.shipped(),
        order.cancelled(),
        order.rejected(),
        order.refunded(refunded_cents, refunded_cents=refunded_cents),
    ]
    return choose.choice(events)


def _numbered(events: Sequence[CreditEvent]) -> Iterator[Received]:
    sequences = Counter[str]()
    for event in events:
        sequences[event.key] += 1
        yield received(event, sequence=sequences[event.key])


@pytest.mark.parametrize("seed", range(6))
async def test_batches_change_the_same_as_single_events(service: UsersService, seed: int) -> None:
    alone = await Scenario.create(service, name="alone", seed=seed)
    together = await Scenario.create(service, name="together", seed=seed)

    for each in alone.events:
        await service.apply_batch([each])
    cuts = sorted(random.Random(seed).sample(range(len(together.events)), seed))  # noqa: S311 - a test's data
    for begin, end in zip([0, *cuts], [*cuts, len(together.events)], strict=True):
        await service.apply_batch(together.events[begin:end])

    expected = await alone.outcome(service)
    assert await together.outcome(service) == expected
    statuses = {reservation[3] for reservation in expected[1] if reservation}
    assert len(statuses) >= 3, statuses
    assert {entry[0] for ledger in expected[2] for entry in ledger} >= {"opened", "reserved", "released"}


async def test_orders_of_one_batch_reserve_no_more_than_the_limit(service: UsersService) -> None:
    account = await service.create_account(limit_cents=1_000)
    orders = [Order(account.id, total_cents=300) for _ in range(5)]

    await service.apply_batch(list(_numbered([order.created() for order in orders])))

    assert await service.credit(account.id) == (900, 0)
    types = [type_ for type_, _ in await service.events()]
    assert types == ["user.credit_reserved"] * 3 + ["user.credit_refused"] * 2


async def test_an_order_created_and_cancelled_in_one_batch_releases_its_credit(service: UsersService) -> None:
    account = await service.create_account(limit_cents=600)
    first, second = Order(account.id), Order(account.id)

    await service.apply_batch(list(_numbered([first.created(), first.cancelled(), second.created()])))

    assert await service.events() == [
        ("user.credit_reserved", first.reply()),
        ("user.credit_released", first.reply()),
        ("user.credit_reserved", second.reply()),
    ]
    assert await service.credit(account.id) == (600, 0)


async def test_the_number_of_statements_does_not_depend_on_the_number_of_events(service: UsersService) -> None:
    accounts = [await service.create_account(email=f"{number}@orderly.example") for number in range(10)]

    counts = []
    for orders in (1, 200):
        events = [received(Order(accounts[n % 10].id, total_cents=10).created(), sequence=1) for n in range(orders)]
        with executed_statements(service.sessions.kw["bind"]) as statements:
            await service.apply_batch(events)
        counts.append(len(statements))

    # Begin the batch; lock accounts, read reservations, write; write the outbox.
    assert counts == [5, 5]


async def test_each_reply_continues_the_trace_of_its_event(service: UsersService) -> None:
    account = await service.create_account()
    traces = [new_trace() for _ in range(3)]
    events = []
    for trace in traces:
        event = Order(account.id).created()
        context = received(event, sequence=1).context
        assert context is not None
        events.append((event, context._replace(traceparent=traceparent_of(trace), tracestate="a=b")))

    async with service.sessions.begin() as session:
        await change_credit(session, events)

    async with service.sessions() as session:
        query = "SELECT traceparent, tracestate FROM outbox WHERE type = 'user.credit_reserved' ORDER BY id"
        rows = (await session.execute(sa.text(query))).all()
    assert [row.traceparent for row in rows] == [traceparent_of(trace) for trace in traces]
    assert {row.tracestate for row in rows} == {"a=b"}
