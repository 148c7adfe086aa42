"""Masking of personal data in an export. The services log none and encrypt it in events; this is a second safeguard."""

import re
from typing import Any

MASK = "(masked)"
_PERSONAL = frozenset(
    {
        "email",
        "name",
        "phone",
        "bio",
        "address",
        "network",
        "ip",
        "user_agent",
        "device",
        "contact",
        "password",
        "token",
    }
)
"""Members of documents whose values are masked."""
_KEPT_PARENTS = frozenset({"spans", "processes", "invariants", "topics", "metrics"})
"""Documents and lists whose items have a name or an address that is not a person's."""
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+")
_IP_ADDRESS = re.compile(r"\b(?!127\.)(?:\d{1,3}\.){3}\d{1,3}\b")


def masked(value: Any, *, parent: str = "") -> Any:
    """Return a JSON document without e-mail addresses, IP addresses, and the values of personal members."""
    match value:
        case dict():
            return {name: _masked_member(name, member, parent=parent) for name, member in value.items()}
        case list() | tuple():
            return [masked(item, parent=parent) for item in value]
        case str():
            return _IP_ADDRESS.sub(MASK, _EMAIL.sub(MASK, value))
        case _:
            return value


def _masked_member(name: str, value: Any, *, parent: str) -> Any:
    is_personal = name in _PERSONAL and not (name in {"name", "address"} and parent in _KEPT_PARENTS)
    if is_personal and value is not None and not isinstance(value, dict | list):
        return MASK
    return masked(value, parent=parent if name == "items" else name)
