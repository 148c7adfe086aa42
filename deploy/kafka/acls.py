"""Kafka's ACLs as code: what each service may do, and the program that gives a cluster these ACLs.

A service writes its own topics, reads the topics that it consumes, and uses its own consumer groups. The users service
also reads its own topic, to repeat erasures that a restored database has lost. `migrate` creates topics and adds
partitions. ACLs that nobody asks for are not removed.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import for_code
from aiokafka.protocol.admin import CreateAclsRequest

from shared.events.topics import TOPICS
from shared.messaging.kafka import KafkaConnection

SERVICES = tuple(sorted({topic.producer for topic in TOPICS}))
MIGRATOR = "migrate"
"""The principal of `migrate`, which creates topics."""
AUDITOR = "audit"
"""The principal of the audit, which reads all topics without a consumer group."""

ERASURES_TOPIC = "users"
"""The topic with the requests of erasures."""

_ALLOW = 3


class Resource(IntEnum):
    """A kind of resource. Source: org.apache.kafka.common.resource.ResourceType."""

    TOPIC = 2
    GROUP = 3
    CLUSTER = 4


class Operation(IntEnum):
    """Permissions of a principal. Source: org.apache.kafka.common.acl.AclOperation."""

    READ = 3
    WRITE = 4
    CREATE = 5
    ALTER = 7
    DESCRIBE = 8
    DESCRIBE_CONFIGS = 10


class Pattern(IntEnum):
    """The comparison of a name. Source: org.apache.kafka.common.resource.PatternType."""

    LITERAL = 3
    PREFIXED = 4


@dataclass(frozen=True, order=True)
class Acl:
    """One permission of a principal, from any host."""

    principal: str
    operation: Operation
    resource: Resource
    name: str
    pattern: Pattern = Pattern.LITERAL


def acls_of(service: str, *, prefix: str = "", principal: str | None = None) -> Iterator[Acl]:
    """Yield the ACLs of a service. `prefix` begins the names of topics and groups.

    The principal is named as the service, unless it is given.
    """
    principal = principal or service
    for topic in TOPICS:
        if topic.producer == service:
            yield Acl(principal, Operation.WRITE, Resource.TOPIC, prefix + topic.name)
        if service in topic.consumers or (service == topic.producer and topic.name == ERASURES_TOPIC):
            yield Acl(principal, Operation.READ, Resource.TOPIC, prefix + topic.name)
    yield Acl(principal, Operation.READ, Resource.GROUP, f"{prefix}{service}.", Pattern.PREFIXED)


def acls_of_outsider(name: str, topics: Iterable[str], *, prefix: str = "") -> Iterator[Acl]:
    """Yield the ACLs of an outside subscriber, whose groups begin with its name and a dot."""
    for topic in topics:
        yield Acl(name, Operation.READ, Resource.TOPIC, prefix + topic)
    yield Acl(name, Operation.READ, Resource.GROUP, f"{name}.", Pattern.PREFIXED)


def acls_of_migrator(*, prefix: str = "", principal: str = MIGRATOR) -> Iterator[Acl]:
    """Yield the ACLs of the principal that creates topics, and sees the groups that consume them."""
    yield Acl(principal, Operation.DESCRIBE, Resource.CLUSTER, "kafka-cluster")
    for topic in TOPICS:
        for operation in (Operation.CREATE, Operation.ALTER, Operation.DESCRIBE, Operation.DESCRIBE_CONFIGS):
            yield Acl(principal, operation, Resource.TOPIC, prefix + topic.name)
    for service in SERVICES:
        yield Acl(principal, Operation.DESCRIBE, Resource.GROUP, f"{prefix}{service}.", Pattern.PREFIXED)


def acls_of_auditor(*, prefix: str = "", principal: str = AUDITOR) -> Iterator[Acl]:
    """Yield the ACLs of the principal that reads all topics."""
    for topic in TOPICS:
        yield Acl(principal, Operation.READ, Resource.TOPIC, prefix + topic.name)


async def apply_acls(kafka: KafkaConnection, acls: list[Acl]) -> None:
    """Give the cluster the ACLs. Safe to repeat. Raises: KafkaError if the cluster does not answer or rejects one."""
    client = AIOKafkaClient(**kafka.client_options())
    try:
        await client.bootstrap()
        for acl in acls:
            response = await client.send(client.get_random_node(), _request(acl))
            for code, message in response.creation_responses:
                if code:
                    raise for_code(code)(f"{acl}: {message}")
    finally:
        await client.close()


def _request(acl: Acl) -> CreateAclsRequest:
    return CreateAclsRequest(
        resource_type=acl.resource,
        resource_name=acl.name,
        resource_pattern_type_filter=acl.pattern,
        principal=f"User:{acl.principal}",
        host="*",
        operation=acl.operation,
        permission_type=_ALLOW,
    )
