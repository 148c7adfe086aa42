"""The topic that a test writes to, as the relay of another service would."""

from uuid import UUID

from aiokafka import AIOKafkaProducer

from shared.messaging.envelope import Headers
from tests.harness.builders import received
from tests.shared.effects import credit_reserved


class Topic:
    """A topic of events that the test's subscription handles."""

    def __init__(self, producer: AIOKafkaProducer, name: str) -> None:
        self.producer = producer
        self.name = name

    async def send(self, user_id: UUID, sequence: int, *, cents: int = 100) -> None:
        """Publish one event."""
        event = received(credit_reserved(user_id, cents=cents), sequence=sequence)
        headers = [(name, value or b"") for name, value in event.headers.items()]
        await self.send_raw(event.key.encode(), event.value, headers)

    async def send_raw(self, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        """Publish a record as it is given, which need not be an event."""
        await self.producer.send_and_wait(self.name, value=value, key=key, headers=headers)
