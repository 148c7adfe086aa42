"""deploy/compose.yaml as compose reads it, with merged anchors and replaced variables."""

import re
from functools import cache
from typing import Any

import yaml

from deploy.compose.secrets_file import NAMES
from tests.architecture.source import CHECKOUT

COMPOSE_FILE = CHECKOUT / "deploy" / "compose.yaml"
SECRET = "made-by-make-up"
_VARIABLE = re.compile(r"\$\$|\$\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<rest>[^}]*))?\}")

Composed = dict[str, Any]


@cache
def composed() -> Composed:
    """Return the file's content, with SECRET for each secret. Raises: KeyError for a variable without a value."""
    document: Composed = _filled_in(yaml.safe_load(COMPOSE_FILE.read_text()))
    return document


def containers() -> dict[str, Composed]:
    """Return the containers by name."""
    found: dict[str, Composed] = composed()["services"]
    return found


def _filled_in(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _filled_in(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled_in(each) for each in value]
    return _VARIABLE.sub(_value_of, value) if isinstance(value, str) else value


def _value_of(variable: re.Match[str]) -> str:
    if variable[0] == "$$":
        return "$"
    if variable["name"] in NAMES:
        return SECRET
    if variable["kind"] == "-":
        return variable["rest"]
    raise KeyError(variable["name"])
