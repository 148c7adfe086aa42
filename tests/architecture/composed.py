"""deploy/compose.yaml as compose reads it, with merged anchors and replaced variables."""

import re
from functools import cache, partial
from typing import Any

import yaml

from tests.architecture.source import CHECKOUT

COMPOSE_FILE = CHECKOUT / "deploy" / "compose.yaml"
_VARIABLE = re.compile(r"\$\$|\$\{(?P<name>\w+)(?::-(?P<default>[^}]*))?\}")

Composed = dict[str, Any]


@cache
def composed() -> Composed:
    """Return the file's content with every variable at its default. Raises: KeyError for one that has none."""
    return composed_with({})


def composed_with(variables: dict[str, str]) -> Composed:
    """Return the file's content as these environment variables make it."""
    document: Composed = _filled_in(yaml.safe_load(COMPOSE_FILE.read_text()), variables)
    for each in document["services"].values():
        # A variable without a value is passed on from the shell, where it is not set by default.
        given = each.get("environment", {}).items()
        each["environment"] = {name: value for name, value in given if value is not None}
    return document


def containers() -> dict[str, Composed]:
    """Return the containers by name."""
    found: dict[str, Composed] = composed()["services"]
    return found


def _filled_in(value: Any, variables: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled_in(each, variables) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled_in(each, variables) for each in value]
    return _VARIABLE.sub(partial(_value_of, variables), value) if isinstance(value, str) else value


def _value_of(variables: dict[str, str], variable: re.Match[str]) -> str:
    if variable[0] == "$$":
        return "$"
    if variable["name"] in variables:
        return variables[variable["name"]]
    if variable["default"] is None:
        raise KeyError(variable["name"])
    return variable["default"]
