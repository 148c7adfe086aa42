"""Spans of events: each in its event's trace, linked with the batch that applies it, and with its outcome."""

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import Database
from shared.events.users import CreditReserved
from shared.ids import new_id
from shared.messaging.consumer.subscription import Subscription
from shared.messaging.consumer.worker import ConsumerWorker
from shared.messaging.dead_letters.queries import ConsumerKey
from shared.messaging.envelope import EventContext, Received
from shared.messaging.outbox.outbox import record
from shared.operations.replay import replay_key
from shared.telemetry import continued_trace, current_traceparent
from tests.harness.builders import received, record_of
from tests.harness.recorded_spans import RecordedSpans
from tests.harness.rows import Rows
from tests.shared.effects import CONSUMER, FAILING_CENTS, add_effects, credit_reserved, failing_first, subscription

PARENTS = [f"00f067aa0ba902b{n}" for n in range(4)]
TRACEPARENTS = [f"00-4bf92f3577b34da6a3ce929d0e0e473{n}-{parent}-01" for n, parent in enumerate(PARENTS)]
APPLY = "apply user.credit_reserved"
BATCH = f"batch {CONSUMER}"


def traced(event: CreditReserved, traceparent: str, *, sequence: int = 1) -> Received:
    """Return an event as it arrives from Kafka, with the header of its trace."""
    one = received(event, sequence=sequence)
    assert one.context is not None
    return one._replace(
        headers={**one.headers, "traceparent": traceparent.encode()},
        context=one.context._replace(traceparent=traceparent),
    )


async def consume(database: Database, *events: Received, handlers: Subscription | None = None) -> None:
    """Apply the events as one fetch of a consumer."""
    worker = ConsumerWorker(name=CONSUMER, subscription=handlers or subscription(), sessions=database.sessions)
    await worker.apply([record_of(event) for event in events])


async def test_a_batch_of_many_traces_is_linked_with_the_span_of_each_event(
    recorded_spans: RecordedSpans, database: Database
) -> None:
    good, failing, blocked = new_id(), new_id(), new_id()
    await consume(
        database,
        traced(credit_reserved(good), TRACEPARENTS[0]),
        traced(credit_reserved(failing, cents=FAILING_CENTS), TRACEPARENTS[1]),
        traced(credit_reserved(failing), TRACEPARENTS[2], sequence=2),
        traced(credit_reserved(blocked), TRACEPARENTS[3]),
    )
    # The first try was rolled back as a whole; the second one has put the failing event into a savepoint.
    applied = recorded_spans.named(APPLY)
    assert [(one.parent, one.attributes["orderly.outcome"], one.links) for one in applied] == [
        *((parent, "rolled_back", [BATCH]) for parent in PARENTS),
        (PARENTS[0], "applied", [BATCH]),
        (PARENTS[1], "dead_lettered", [BATCH]),
        (PARENTS[2], "dead_lettered", [BATCH]),
        (PARENTS[3], "applied", [BATCH]),
    ]
    assert [(one.error, one.events) for one in applied[5:7]] == [
        ("retrying", ["dead_lettered"]),
        ("blocked", ["dead_lettered"]),
    ]
    batches = recorded_spans.named(BATCH)
    assert [(one.parent, one.links, one.attributes["messaging.batch.message_count"]) for one in batches] == [
        ("", [APPLY] * 4, 4),
        ("", [APPLY] * 4, 4),
    ]
    # What a handler does for one event is below the span of the event; what all share is below that of the batch.
    parents = {one.name: one.parent for one in recorded_spans.all() if one.name.split()[0] in {"INSERT", "COMMIT"}}
    assert parents == {
        "INSERT inbox_sequence, INSERT inbox": BATCH,
        "INSERT effect": APPLY,
        "INSERT dead_letter": BATCH,
        "COMMIT": BATCH,
    }


async def test_a_retry_in_place_is_an_event_of_the_batch(recorded_spans: RecordedSpans, database: Database) -> None:
    once = failing_first(OperationalError("SELECT 1", {}, ConnectionResetError("secret")))
    await consume(database, traced(credit_reserved(), TRACEPARENTS[0]), handlers=once)
    [batch], [applied] = recorded_spans.named(BATCH), recorded_spans.named(APPLY)
    # The transaction of a lone event is in the event's trace.
    assert (batch.parent, batch.events, batch.links, batch.error) == (APPLY, ["retried"], [], None)
    assert (applied.parent, applied.attributes["orderly.outcome"]) == (PARENTS[0], "applied")
    assert "secret" not in str(recorded_spans.all())


async def test_a_replay_has_a_span_in_the_trace_of_its_event(recorded_spans: RecordedSpans, database: Database) -> None:
    key = new_id()
    once = failing_first(ZeroDivisionError(), ZeroDivisionError())
    await consume(database, traced(credit_reserved(key), TRACEPARENTS[0]), handlers=once)
    assert await Rows(database.sessions).dead_letters() == [(str(key), 1, "retrying")]
    replayed = await replay_key(
        database.sessions, ConsumerKey(CONSUMER, "users", str(key)), subscription=once, actor="ann"
    )
    assert replayed.applied == 1
    *_, applied = recorded_spans.named(APPLY)
    assert (applied.parent, applied.attributes["orderly.is_replay"]) == (PARENTS[0], True)


async def test_a_handlers_events_and_its_own_trace_belong_to_the_span_of_its_event(
    recorded_spans: RecordedSpans, database: Database
) -> None:
    users, seen = Subscription("users"), list[str | None]()

    @users.on(CreditReserved)
    async def answer(session: AsyncSession, event: CreditReserved, context: EventContext) -> None:
        seen.extend([current_traceparent(), context.traceparent])
        record(session, event)
        await add_effects(session, context)

    await consume(database, traced(credit_reserved(), TRACEPARENTS[0]), handlers=users)
    async with database.sessions() as session:
        stored = (await session.execute(sa.text("SELECT traceparent FROM outbox"))).scalars().all()
    assert [*seen, *stored] == [seen[0]] * 3
    assert seen[0] not in {None, TRACEPARENTS[0]}
    assert [one.parent for one in recorded_spans.named("INSERT event_stream, INSERT outbox")] == ["outbox"]


async def test_spans_of_statements_have_no_parameters_and_exist_within_a_trace_only(
    recorded_spans: RecordedSpans, database: Database
) -> None:
    statement = sa.text("SELECT CAST(:secret AS text) FROM effect")
    async with database.sessions() as session:
        await session.execute(statement, {"secret": "ann@example.org"})
    assert recorded_spans.all() == []
    with continued_trace(TRACEPARENTS[0]):
        async with database.sessions() as session:
            await session.execute(statement, {"secret": "ann@example.org"})
    assert [(one.name, one.parent) for one in recorded_spans.all()] == [
        ("acquire connection", PARENTS[0]),
        ("SELECT effect", PARENTS[0]),
        ("ROLLBACK", PARENTS[0]),
    ]
    assert "ann" not in str(recorded_spans.all())
    assert recorded_spans.named("SELECT effect")[0].attributes["db.query.text"].startswith("SELECT CAST($1")
