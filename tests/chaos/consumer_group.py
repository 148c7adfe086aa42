"""The state of a consumer group: its lag, and its dead members removed."""

from contextlib import suppress

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError
from aiokafka.protocol.api import Request
from aiokafka.protocol.group import LeaveGroupRequest_v1

from tests.harness.kafka_topics import end_offsets
from tests.harness.waiting import until

_MEMBERS = 5
"""The field of a described group that lists its members."""


class _Leave(Request[LeaveGroupRequest_v1]):  # type: ignore[misc]  # aiokafka has no types
    """A request to leave on behalf of another member; aiokafka itself sends it for its own member only."""

    API_KEY = LeaveGroupRequest_v1.API_KEY

    def __init__(self, group: str, member_id: str) -> None:
        self._group, self._member_id = group, member_id

    def build(self, request_struct_class: type[LeaveGroupRequest_v1]) -> LeaveGroupRequest_v1:
        return request_struct_class(self._group, self._member_id)


async def remove_members(bootstrap_servers: str, group: str) -> None:
    """Remove every member of the group. Otherwise a rebalance waits 10 s for the sessions of dead members."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        coordinator = await _coordinator_of(admin, group)
        (described,) = await admin.describe_consumer_groups([group], group_coordinator_id=coordinator)
        for member in described.groups[0][_MEMBERS]:
            await admin._send_request(_Leave(group, member[0]), coordinator)
    finally:
        await admin.close()


async def lag_of(bootstrap_servers: str, *, group: str, topic: str) -> int:
    """Return how many records the group has not committed; a group that never committed lags by all of them."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        coordinator = await _coordinator_of(admin, group)
        committed = await admin.list_consumer_group_offsets(group, group_coordinator_id=coordinator)
    finally:
        await admin.close()
    ends = await end_offsets(bootstrap_servers, topic)
    return sum(
        end - max(0, committed[partition].offset if partition in committed else 0) for partition, end in ends.items()
    )


async def _coordinator_of(admin: AIOKafkaAdminClient, group: str) -> int:
    """Return the id of the group's coordinator. A broker has none until it has created its topic of offsets."""
    found: list[int] = []

    async def is_known() -> bool:
        with suppress(GroupCoordinatorNotAvailableError):
            found.append(await admin.find_coordinator(group))
        return bool(found)

    await until(is_known, what="the group has a coordinator")
    return found[0]
