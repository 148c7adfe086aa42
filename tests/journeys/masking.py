"""JSON with its ids, times and numbers of rows replaced, so that it can be compared as a whole."""

import re
from collections.abc import Mapping
from typing import Any

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)")
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def masked(value: Any, names: Mapping[str, str]) -> Any:
    """Return JSON in which ids, times and User-Agents are replaced; those texts that have a name by their names."""
    match value:
        case dict():
            return {key: _masked_member(key, each, names) for key, each in value.items()}
        case list():
            return [masked(each, names) for each in value]
        case str():
            for text, name in names.items():
                value = value.replace(text, name)
            return _ID.sub("<id>", _TIME.sub("<time>", value))
        case _:
            return value


def _masked_member(name: str, value: Any, names: Mapping[str, str]) -> Any:
    if name == "id" and isinstance(value, int):
        return "<number>"
    if name == "user_agent" and value is not None:
        return "<user agent>"
    return masked(value, names)
