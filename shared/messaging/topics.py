"""Creation of the declared Kafka topics."""

import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from shared.events.topics import TOPICS
from shared.messaging.kafka import KafkaConnection

logger = structlog.get_logger(__name__)

MAX_REPLICAS = 3


async def create_topics(kafka: KafkaConnection) -> None:
    """Create the declared topics that do not exist yet, replicated to at most MAX_REPLICAS brokers.

    Does not change existing topics. Raises: KafkaError if the cluster does not answer or rejects a topic.
    """
    admin = AIOKafkaAdminClient(**kafka.client_options())
    await admin.start()
    try:
        brokers = len((await admin.describe_cluster())["brokers"])
        replicas = min(brokers, MAX_REPLICAS)
        response = await admin.create_topics(
            [
                NewTopic(
                    kafka.topic_prefix + topic.name,
                    topic.partitions,
                    replicas,
                    topic_configs=topic.config(replicas=replicas),
                )
                for topic in TOPICS
            ]
        )
    finally:
        await admin.close()
    for name, code, message in (error[:3] for error in response.topic_errors):
        if code == TopicAlreadyExistsError.errno:
            continue
        if code:
            raise for_code(code)(f"{name}: {message}")
        logger.info("topic_created", topic=name)
