"""Settings of the users service: USERS_* of the environment."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.settings import ServiceSettings


class Settings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="USERS_")

    http_port: Annotated[int, Field(ge=0, le=65535)] = 8001
    signing_keys_file: Path
    """A JWK Set of private Ed25519 keys: the first signs, all are published."""
    access_token_minutes: Annotated[int, Field(gt=0, le=60)] = 15
    refresh_token_days: Annotated[int, Field(gt=0, le=365)] = 30
    default_credit_limit_cents: Annotated[int, Field(ge=0, le=10**15)] = 100_000
    credit_currency: Annotated[str, Field(pattern="^[A-Z]{3}$")] = "GBP"
    password_hashing_concurrency: Annotated[int, Field(gt=0)] = 2
    """Each takes a core for 0.1 s and 64 MiB."""
    sign_in_failures_per_account: Annotated[int, Field(gt=0)] = 10
    sign_in_failures_per_address: Annotated[int, Field(gt=0)] = 100
    sign_in_failures_minutes: Annotated[int, Field(gt=0)] = 15
    """How long failures count from the first one on."""

    @property
    def access_token_lifetime(self) -> timedelta:
        return timedelta(minutes=self.access_token_minutes)

    @property
    def refresh_token_lifetime(self) -> timedelta:
        return timedelta(days=self.refresh_token_days)
