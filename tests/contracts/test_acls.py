"""Kafka's ACLs follow the contracts: a service writes the topics of its events, and reads what it subscribes to."""

from deploy.kafka.acls import SERVICES, Acl, Operation, Pattern, Resource, acls_of
from tests.contracts.events import CONTRACTS, publishers, subscriptions


def permitted(operation: Operation) -> set[tuple[str, str]]:
    """Return each service with each topic for which it has the permission."""
    return {
        (service, acl.name)
        for service in SERVICES
        for acl in acls_of(service)
        if acl.operation is operation and acl.resource is Resource.TOPIC
    }


def test_a_service_may_write_the_topics_of_its_events_only() -> None:
    written = {(service, CONTRACTS[event].topic) for event, services in publishers().items() for service in services}
    assert permitted(Operation.WRITE) == written


def test_a_service_may_read_the_topics_that_it_subscribes_to_only() -> None:
    read = {(service, each.topic) for service, its in subscriptions().items() for each in its}
    # What a restored database of users has lost of its erasures.
    assert permitted(Operation.READ) == read | {("users", "users")}


def test_topics_and_groups_have_the_prefix_of_the_settings() -> None:
    assert set(acls_of("users", prefix="test.", principal="ann")) == {
        Acl("ann", Operation.WRITE, Resource.TOPIC, "test.users"),
        Acl("ann", Operation.READ, Resource.TOPIC, "test.users"),
        Acl("ann", Operation.READ, Resource.TOPIC, "test.orders"),
        Acl("ann", Operation.READ, Resource.TOPIC, "test.notifications"),
        Acl("ann", Operation.READ, Resource.GROUP, "test.users.", Pattern.PREFIXED),
    }
