"""Settings are read from the environment, and invalid ones are reported in plain words."""

import pytest
from pydantic import ValidationError
from pydantic_settings import SettingsConfigDict

from shared.settings import ServiceSettings, load

REQUIRED = {
    "TRIAL_DATABASE_URL": "postgresql+asyncpg://trial:hunter2@127.0.0.1/trial",
    "TRIAL_VALKEY_URL": "redis://:hunter2@127.0.0.1/0",
    "TRIAL_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9092",
    "TRIAL_HTTP_PORT": "8009",
}


class TrialSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="TRIAL_")


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in REQUIRED.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_settings_are_read_and_others_have_their_defaults(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("TRIAL_LOG_FORMAT", "console")
    settings = load(TrialSettings)
    assert settings.database_url == REQUIRED["TRIAL_DATABASE_URL"]
    assert (settings.http_host, settings.http_port) == ("127.0.0.1", 8009)
    assert (settings.log_format, settings.log_level) == ("console", "info")
    assert (settings.database_pool_size, settings.kafka_topic_prefix, settings.jwks_url) == (10, "", None)


def test_each_missing_setting_is_reported_in_a_line(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.delenv("TRIAL_DATABASE_URL")
    environment.delenv("TRIAL_HTTP_PORT")
    with pytest.raises(SystemExit) as ended:
        load(TrialSettings)
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines() == ["TRIAL_DATABASE_URL: is not set", "TRIAL_HTTP_PORT: is not set"]


def test_an_invalid_setting_is_reported_without_its_value(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("TRIAL_HTTP_PORT", "hunter2")
    with pytest.raises(SystemExit):
        load(TrialSettings)
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("TRIAL_HTTP_PORT: input should be a valid integer")
    assert "hunter2" not in line
    with pytest.raises(ValidationError) as unhandled:
        TrialSettings()
    assert "hunter2" not in str(unhandled.value)


@pytest.mark.usefixtures("environment")
def test_the_repr_contains_no_password() -> None:
    assert "hunter2" not in repr(load(TrialSettings))


@pytest.mark.usefixtures("environment")
def test_settings_cannot_be_changed() -> None:
    settings = load(TrialSettings)
    with pytest.raises(ValidationError):
        settings.http_port = 1  # type: ignore[misc]  # what is tested
