"""The list of all faults, as the console shows them."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel

from deploy.faults import databases, poison, processes
from deploy.faults.parameters import Cuts, NoParameters, OfService, Outage, Poison, Suspension
from deploy.faults.target import Inject
from deploy.local.control_protocol import FaultDescription


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault, and what to say about it."""

    name: str
    title: str
    description: str
    ends: str
    parameters: type[BaseModel]
    inject: Inject

    def describe(self) -> FaultDescription:
        """Return the description for clients."""
        return FaultDescription(
            name=self.name,
            title=self.title,
            description=self.description,
            ends=self.ends,
            parameters=self.parameters.model_json_schema(),
        )


_FAULTS = (
    Fault(
        name="kill_leading_relay",
        title="Kill the leading relay",
        description="Kills the process that holds the lease of a database's outbox. Its events wait in the outbox.",
        ends="The lease's epoch rises once a relay leads again, within seconds, and the outbox empties.",
        parameters=OfService,
        inject=processes.kill_leading_relay,
    ),
    Fault(
        name="kill_service",
        title="Kill a service",
        description="Kills a service with SIGKILL, in the middle of whatever it does.",
        ends="The supervisor restarts it, and it is ready again.",
        parameters=OfService,
        inject=processes.kill_service,
    ),
    Fault(
        name="kill_broker",
        title="Kill the broker",
        description="Kills Kafka. Orders are still accepted: their events wait in the outboxes.",
        ends="The supervisor restarts it; the outboxes empty and the consumers catch up.",
        parameters=NoParameters,
        inject=processes.kill_broker,
    ),
    Fault(
        name="shut_down_postgres",
        title="Shut PostgreSQL down at once",
        description="Sends SIGQUIT to a service's PostgreSQL server, which ends without a checkpoint, as in a crash.",
        ends="The supervisor restarts it; it recovers from its write-ahead log, and the service is ready again.",
        parameters=OfService,
        inject=databases.shut_down_postgres,
    ),
    Fault(
        name="terminate_backends",
        title="End all database connections",
        description="Ends every connection to a service's database with pg_terminate_backend.",
        ends="The service connects again and is ready.",
        parameters=OfService,
        inject=databases.terminate_backends,
    ),
    Fault(
        name="cut_after_commit",
        title="Cut a connection after COMMIT",
        description="Drops the reply to the next COMMIT: the database has committed, and the service does not know. The"
        " first time it restarts the service behind a proxy; a normal restart removes the proxy.",
        ends="The commits were cut, and the service is ready.",
        parameters=Cuts,
        inject=databases.cut_after_commit,
    ),
    Fault(
        name="suspend_consumer",
        title="Suspend a consumer",
        description="Suspends a service's process with SIGSTOP: it neither works nor ends, like a stalled machine.",
        ends="The process continues after the time, and its consumers catch up.",
        parameters=Suspension,
        inject=processes.suspend_consumer,
    ),
    Fault(
        name="send_poison",
        title="Send poison",
        description="Writes records to a topic that no consumer can apply. They have keys of their own, so they block"
        " no honest event. A blocked key gets a second record, which queues behind the first.",
        ends="The dead letters were discarded.",
        parameters=Poison,
        inject=poison.send_poison,
    ),
    Fault(
        name="stop_mail",
        title="Stop the mail server",
        description="Stops the mail server for some time. Mails wait and are tried again.",
        ends="The mail server runs again, and the waiting mails are sent.",
        parameters=Outage,
        inject=processes.stop_mail,
    ),
    Fault(
        name="kill_valkey",
        title="Kill Valkey",
        description="Kills the cache and the counters of the rate limits. Every cached value can be computed again.",
        ends="The supervisor restarts it.",
        parameters=NoParameters,
        inject=processes.kill_valkey,
    ),
    Fault(
        name="kill_gateway",
        title="Kill the gateway",
        description="Kills the gateway: the API is unreachable for a moment, and nothing that it accepted is lost.",
        ends="The supervisor restarts it, and the API answers.",
        parameters=NoParameters,
        inject=processes.kill_gateway,
    ),
)

FAULTS: Mapping[str, Fault] = {fault.name: fault for fault in _FAULTS}
