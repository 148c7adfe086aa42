"""Settings of the local system: ORDERLY_* in the environment, or these defaults."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from deploy.local.broker import Choice

CHECKOUT = Path(__file__).parents[2]


class LocalSettings(BaseSettings):
    """The folder, ports and options of the local system. Every port is on the loopback address."""

    model_config = SettingsConfigDict(env_prefix="ORDERLY_", frozen=True)

    folder: Path = CHECKOUT / ".local"
    gateway_port: int = 8080
    gateway_health_port: int = 8081
    users_port: int = 8001
    orders_port: int = 8002
    notifications_port: int = 8003
    mail_page_port: int = 8025
    smtp_port: int = 8026
    postgres_port: int = 15432
    valkey_port: int = 16379
    kafka_port: int = 19092
    kafka_controller_port: int = 19093
    kafka: Choice = "auto"
    kafka_bootstrap_servers: str | None = Field(default=None, validation_alias="KAFKA_BOOTSTRAP_SERVERS")
    gateway_requests_per_second: int = 1000
    """Per client address. On a laptop all clients have the same one."""

    def ports(self) -> dict[str, int]:
        """Return every port of the system by the variable that sets it, without those of an external Kafka."""
        names = [name for name in type(self).model_fields if name.endswith("_port")]
        if self.kafka_bootstrap_servers:
            names = [name for name in names if not name.startswith("kafka_")]
        return {f"ORDERLY_{name.upper()}": getattr(self, name) for name in names}

    def port_of(self, service: str) -> int:
        """Return the HTTP port of one of the three services."""
        port: int = getattr(self, f"{service}_port")
        return port

    @property
    def logs(self) -> Path:
        """The folder of the log files, one per process."""
        return self.folder / "logs"
