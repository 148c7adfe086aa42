"""Which Kafka to run: Apache's, or its stand-in where that can't be had."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deploy.local.kafka import KafkaNode
from deploy.local.kafka_jars import ensure_jars
from deploy.local.process import LocalError, Program
from deploy.local.tansu import WHAT_IS_LOST, tansu_program

Choice = Literal["auto", "apache", "tansu"]


@dataclass(frozen=True, kw_only=True)
class Broker:
    """The program to start, and whether producers may ask it for idempotence."""

    program: Program
    idempotent: bool


async def prepare_broker(
    *, folder: Path, port: int, controller_port: int, choice: Choice, log: Path, warn: Callable[[str], None]
) -> Broker:
    """Have everything ready that a single broker needs, and return the broker to start.

    Raises: LocalError when Apache Kafka is demanded and can't be fetched.
    """
    if choice != "tansu":
        try:
            await ensure_jars(log)
        except LocalError as error:
            if choice == "apache":
                raise LocalError(f"ORDERLY_KAFKA=apache, but Apache Kafka can't be fetched: {error}") from error
            warn(f"Apache Kafka can't be fetched ({str(error).splitlines()[0]}). {WHAT_IS_LOST}.")
        else:
            node = KafkaNode(folder=folder, port=port, controller_ports={1: controller_port})
            await node.prepare(log)
            return Broker(program=node.program(), idempotent=True)
    else:
        warn(f"{WHAT_IS_LOST} (ORDERLY_KAFKA=tansu).")
    return Broker(program=tansu_program(port), idempotent=False)
