"""The connection to Kafka that producers, consumers and tools share: its servers, and how they authenticate."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faststream.security import BaseSecurity, SASLScram256, SASLScram512

from shared.settings import KafkaSettings, SaslMechanism, SecurityProtocol


@dataclass(frozen=True)
class KafkaConnection:
    """A cluster, the prefix of the names of its topics and groups, and the security of its connections."""

    bootstrap_servers: str
    """Comma-separated addresses."""
    topic_prefix: str = ""
    security_protocol: SecurityProtocol = "PLAINTEXT"
    sasl_mechanism: SaslMechanism = "SCRAM-SHA-512"
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None

    @property
    def servers(self) -> list[str]:
        """The addresses. FastStream takes a string for one server, where aiokafka would split it."""
        return self.bootstrap_servers.split(",")

    def client_options(self) -> dict[str, Any]:
        """Return the arguments of an aiokafka client. Raises: OSError if a certificate cannot be used."""
        options: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap_servers,
            "security_protocol": self.security_protocol,
            "ssl_context": self._ssl_context(),
        }
        if not self._has_log_in:
            return options
        return {
            **options,
            "sasl_mechanism": self.sasl_mechanism,
            "sasl_plain_username": self.username,
            "sasl_plain_password": self.password,
        }

    def broker_security(self) -> BaseSecurity:
        """Return the security of a FastStream broker. Raises: OSError if a certificate cannot be used."""
        context = self._ssl_context()
        if not self._has_log_in:
            return BaseSecurity(ssl_context=context, use_ssl=context is not None)
        scram = SASLScram512 if self.sasl_mechanism == "SCRAM-SHA-512" else SASLScram256
        return scram(
            username=self.username or "",
            password=self.password or "",
            ssl_context=context,
            use_ssl=context is not None,
        )

    @property
    def _has_log_in(self) -> bool:
        return self.security_protocol.startswith("SASL_")

    def _ssl_context(self) -> ssl.SSLContext | None:
        """Return the context that verifies the servers' certificates and names; None without TLS."""
        if self.security_protocol not in {"SSL", "SASL_SSL"}:
            return None
        context = ssl.create_default_context(cafile=self.ca_file)
        if self.certificate_file is not None:
            context.load_cert_chain(self.certificate_file, self.key_file)
        return context


def kafka_of(settings: KafkaSettings) -> KafkaConnection:
    """Return the connection that settings describe."""
    return KafkaConnection(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        topic_prefix=settings.kafka_topic_prefix,
        security_protocol=settings.kafka_security_protocol,
        sasl_mechanism=settings.kafka_sasl_mechanism,
        username=settings.kafka_username,
        password=settings.kafka_password,
        ca_file=settings.kafka_ca_file,
        certificate_file=settings.kafka_certificate_file,
        key_file=settings.kafka_key_file,
    )
