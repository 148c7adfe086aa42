"""`python -m deploy.kafka`: give a cluster the ACLs of the three services. Repeatable.

The connection comes from the settings KAFKA_BOOTSTRAP_SERVERS, KAFKA_SECURITY_PROTOCOL, KAFKA_USERNAME,
KAFKA_PASSWORD_FILE ... of a principal that may change ACLs.
"""

from typing import Annotated

import typer

from deploy.kafka.acls import (
    AUDITOR,
    MIGRATOR,
    SERVICES,
    acls_of,
    acls_of_auditor,
    acls_of_migrator,
    acls_of_outsider,
    apply_acls,
)
from shared.command import run_command
from shared.messaging.kafka import kafka_of
from shared.settings import KafkaSettings, load


def main(
    principal: Annotated[
        list[str] | None,
        typer.Option(help="SERVICE=NAME, if the principal is not named as the service, `migrate` or `audit`."),
    ] = None,
    outside: Annotated[
        list[str] | None, typer.Option(help="NAME=TOPIC: an outside subscriber, with groups named NAME.*")
    ] = None,
) -> None:
    """Apply the ACLs, and print them."""
    settings = load(KafkaSettings)
    names = {name: name for name in (*SERVICES, MIGRATOR, AUDITOR)}
    for pair in principal or []:
        role, _, name = pair.partition("=")
        if role not in names or not name:
            raise typer.BadParameter(f"{pair}: use one of {', '.join(names)} as SERVICE=NAME")
        names[role] = name
    prefix = settings.kafka_topic_prefix
    acls = [acl for service in SERVICES for acl in acls_of(service, prefix=prefix, principal=names[service])]
    acls += acls_of_migrator(prefix=prefix, principal=names[MIGRATOR])
    acls += acls_of_auditor(prefix=prefix, principal=names[AUDITOR])
    for pair in outside or []:
        name, _, topic = pair.partition("=")
        acls += acls_of_outsider(name, [topic], prefix=prefix)
    run_command(apply_acls(kafka_of(settings), acls))
    for acl in acls:
        typer.echo(f"{acl.principal} may {acl.operation.name} {acl.resource.name.lower()} {acl.name}")


if __name__ == "__main__":
    typer.run(main)
