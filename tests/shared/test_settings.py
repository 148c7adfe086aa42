"""Settings are read from the environment, and invalid ones are reported in plain words."""

from pathlib import Path

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
    assert settings.database_url == "postgresql://trial:hunter2@127.0.0.1/trial"
    assert (settings.http_host, settings.http_port) == ("127.0.0.1", 8009)
    assert (settings.log_format, settings.log_level) == ("console", "info")
    assert (settings.database_pool_size, settings.kafka_topic_prefix, settings.users_url) == (10, "", None)


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


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Load the settings, which fails with status 2; return what it prints."""
    with pytest.raises(SystemExit) as ended:
        load(TrialSettings)
    assert ended.value.code == 2
    return capsys.readouterr().err.splitlines()


def test_passwords_come_from_files_and_complete_the_urls(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2/@:?\n")
    environment.setenv("TRIAL_DATABASE_URL", "postgresql://trial@db:5432/trial?sslmode=require")
    environment.setenv("TRIAL_MIGRATIONS_DATABASE_URL", "postgresql://owner@db/trial")
    environment.setenv("TRIAL_VALKEY_URL", "valkeys://cache:6380/3")
    for name in ("DATABASE_PASSWORD", "MIGRATIONS_DATABASE_PASSWORD", "VALKEY_PASSWORD"):
        environment.setenv(f"TRIAL_{name}_FILE", str(secret))
    settings = load(TrialSettings)
    assert settings.database_url == "postgresql://trial:hunter2%2F%40%3A%3F@db:5432/trial?sslmode=require"
    assert settings.owner_database_url == "postgresql://owner:hunter2%2F%40%3A%3F@db/trial"
    assert settings.valkey_url == "rediss://:hunter2%2F%40%3A%3F@cache:6380/3"
    assert "hunter2" not in repr(settings)


def test_any_setting_may_come_from_a_file(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "port").write_text("8100\r\n")
    environment.delenv("TRIAL_HTTP_PORT")
    environment.setenv("TRIAL_HTTP_PORT_FILE", str(tmp_path / "port"))
    assert load(TrialSettings).http_port == 8100


def test_a_file_that_cannot_be_used_is_reported_in_a_line(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "binary").write_bytes(b"\xff")
    environment.delenv("TRIAL_DATABASE_URL")
    environment.setenv("TRIAL_DATABASE_URL_FILE", str(tmp_path / "absent"))
    environment.setenv("TRIAL_VALKEY_PASSWORD_FILE", str(tmp_path / "binary"))
    environment.setenv("TRIAL_HTTP_PORT_FILE", str(tmp_path / "absent"))
    assert lines_of(capsys) == [
        f"TRIAL_DATABASE_URL_FILE: names the file {tmp_path}/absent: no such file or directory",
        f"TRIAL_VALKEY_PASSWORD_FILE: names the file {tmp_path}/binary: cannot be decoded as utf-8",
        "TRIAL_HTTP_PORT_FILE: is set, and TRIAL_HTTP_PORT too",
    ]


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("DATABASE_URL", "mysql://x@y/z", "must look like postgresql://user@host:port/database?sslmode=verify-full"),
        ("DATABASE_URL", "postgresql://x@y/z?ssl=true", "has the unknown parameter ssl: use sslmode"),
        ("DATABASE_URL", "postgresql://x@y/z?sslmode=on", "has an unknown sslmode: use one of disable, allow, prefer"),
        ("DATABASE_URL", "postgresql://x@y/z?sslmode=verify-full", "needs sslrootcert, the file of the CA"),
        (
            "DATABASE_URL",
            "postgresql://x@y/z?sslmode=verify-full&sslrootcert=/absent",
            "names the file /absent: no such file or directory",
        ),
        ("DATABASE_URL", "postgresql://x@a,b/z", "names several hosts: use ?host=a,b&port=5432,5432"),
        ("DATABASE_PASSWORD", "another", None),
        ("VALKEY_URL", "http://x", "must look like redis://host:port/0, or rediss://"),
        ("VALKEY_URL", "rediss://x?ssl_cert_reqs=none", "has the unknown parameter ssl_cert_reqs: known are db,"),
        ("VALKEY_URL", "redis://x?ssl_ca_certs=/etc/hosts", "names certificates without TLS: use rediss://"),
        ("KAFKA_SECURITY_PROTOCOL", "SASL_SSL", "is SASL_SSL, and KAFKA_PASSWORD is not set"),
        ("KAFKA_USERNAME", "trial", None),
        ("MIGRATIONS_DATABASE_PASSWORD", "hunter2", None),
        ("KAFKA_CA_FILE", "/absent", "names the file /absent: no such file or directory"),
        ("HTTP_KEY_FILE", "/etc/hosts", None),
    ],
)
def test_a_transport_that_cannot_work_is_reported_in_a_line(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str, problem: str | None
) -> None:
    environment.setenv(f"TRIAL_{name}", value)
    expected = {
        "DATABASE_PASSWORD": "TRIAL_DATABASE_URL: contains a password, although another setting has it too",
        "MIGRATIONS_DATABASE_PASSWORD": "TRIAL_MIGRATIONS_DATABASE_URL: is not set, although its password is",
        "KAFKA_USERNAME": "TRIAL_KAFKA_SECURITY_PROTOCOL: is PLAINTEXT, which does not use KAFKA_USERNAME",
        "HTTP_KEY_FILE": "TRIAL_HTTP_CERTIFICATE_FILE: needs HTTP_KEY_FILE, and the other way round",
    }
    [line] = lines_of(capsys)
    assert line.startswith(f"TRIAL_{name}: {problem}" if problem else expected[name])


def test_a_unix_socket_is_a_parameter_of_the_url(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("TRIAL_DATABASE_URL", "postgresql+asyncpg://trial@/trial?host=/run/postgresql")
    environment.setenv("TRIAL_DATABASE_PASSWORD", "hunter2")
    assert load(TrialSettings).database_url == "postgresql://trial:hunter2@/trial?host=/run/postgresql"
