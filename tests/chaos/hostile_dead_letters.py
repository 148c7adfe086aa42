"""Discards the dead letters of hostile records, as an operator would: the demo's invariants allow no dead letter."""

from collections.abc import Mapping, Sequence

from shared.database import open_database
from shared.messaging.dead_letters.queries import DeadLetterFilter, list_dead_letters
from shared.messaging.lag import topic_lag
from shared.messaging.topics import admin_client
from shared.operations.discard import discard_all
from tests.chaos.hostile_producer import HostileProducer
from tests.chaos.partition_faults import PublishedTopic
from tests.harness.waiting import until

CATCH_UP_SECONDS = 120.0
POLL_SECONDS = 0.5


async def discard_hostile(
    hostile: HostileProducer, topics: Sequence[PublishedTopic], *, databases: Mapping[str, str]
) -> int:
    """Wait until every group has consumed the hostile records, and discard their dead letters; return how many.

    `databases`: the URLs of the services that consume the topics. A dead letter that blocks its key is not discarded:
    the hostile records name honest keys. Raises: KafkaError; AssertionError if a group does not catch up.
    """
    places = {topic.name: await hostile.places(topic.name) for topic in topics}
    if not any(places.values()):
        return 0
    for topic in topics:
        await _wait_for_consumers(topic)
    discarded = 0
    for service, url in databases.items():
        database = open_database(url, service=service, pool_size=1)
        try:
            async with database.sessions() as session:
                dead_letters = await list_dead_letters(session, wanted=DeadLetterFilter(), limit=None)
            theirs = [
                each
                for each in dead_letters
                if not each.blocks_key and (each.partition, each.offset) in places.get(each.topic, ())
            ]
            discarded += len(await discard_all(database.sessions, theirs, actor="chaos", note="a hostile record"))
        finally:
            await database.close()
    return discarded


async def _wait_for_consumers(topic: PublishedTopic) -> None:
    name = topic.kafka.topic_prefix + topic.name
    async with admin_client(topic.kafka) as admin, topic_lag(admin, topic.kafka, topic=name) as lag:
        groups = {*await lag.groups(), *(topic.kafka.topic_prefix + each for each in topic.consumers)}

        async def have_caught_up() -> bool:
            return not any((await lag.of(groups)).values())

        await until(
            have_caught_up,
            seconds=CATCH_UP_SECONDS,
            poll_seconds=POLL_SECONDS,
            what=f"all groups have consumed the topic {topic.name}",
        )
