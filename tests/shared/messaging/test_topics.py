"""Topics are created once, and errors of the cluster are raised."""

import pytest
from aiokafka.errors import InvalidTopicError
from structlog.testing import capture_logs

from shared.events.topics import TOPICS
from shared.messaging.kafka import KafkaConnection
from shared.messaging.topics import create_topics


async def test_existing_topics_are_left_unchanged(kafka_bootstrap_servers: str, topic_prefix: str) -> None:
    with capture_logs() as logs:
        await create_topics(KafkaConnection(kafka_bootstrap_servers, topic_prefix))
        await create_topics(KafkaConnection(kafka_bootstrap_servers, topic_prefix))
    assert [line["topic"] for line in logs] == [topic_prefix + topic.name for topic in TOPICS]


async def test_a_topic_that_the_cluster_rejects_raises(kafka_bootstrap_servers: str) -> None:
    with pytest.raises(InvalidTopicError):
        await create_topics(KafkaConnection(kafka_bootstrap_servers, "not/allowed."))
