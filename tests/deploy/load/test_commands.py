"""The command line explains what it cannot do."""

import pytest
from typer.testing import CliRunner

from deploy.load.__main__ import cli

AWAY = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--url", AWAY, "--json-lines"], f"✗ {AWAY} cannot be reached: "),
        (["--url", "nonsense", "--json-lines"], "✗ nonsense cannot be reached: "),
        (["--rate", "1", "--users", "1"], "--rate is an open loop and --users a closed one: choose one of them"),
        (["--seconds", "1", "--minutes", "1"], "choose one of --seconds and --minutes"),
        (["--url", AWAY, "--metrics", "users"], "expected NAME=URL, such as users=http://"),
        (["--url", AWAY, "--admin-password-file", "none"], "none has no password"),
        (["--url", AWAY, "--ca-file", "none.pem"], "file 'none.pem' does not exist"),
        (["--thresholds", "none.toml"], "✗ none.toml cannot be read: No such file or directory"),
    ],
)
def test_options_that_cannot_work_are_explained(options: list[str], message: str) -> None:
    result = CliRunner(env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"}).invoke(cli, ["run", *options])

    assert result.exit_code == 2
    assert message in " ".join((result.stdout + result.stderr).split())
