"""What an event is: a frozen fact with a type, a topic and the key that orders it."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

EVENT_TYPES: dict[str, type["Event"]] = {}
"""Every concrete event by its CloudEvents type; filled as the modules of this package are imported."""


class Event(BaseModel):
    """A fact in the past tense. Subclasses name `type`, inherit `topic`, and say which field is the key.

    Readers ignore fields they do not know, so that a schema can grow; writers are checked strictly.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", use_attribute_docstrings=True)

    type: ClassVar[str]
    topic: ClassVar[str]
    key_field: ClassVar[str]

    @classmethod
    def __pydantic_init_subclass__(cls, **_kwargs: Any) -> None:
        """Register a concrete event; raises TypeError when two classes claim one type."""
        name = cls.__dict__.get("type")
        if name is None:
            return
        if EVENT_TYPES.setdefault(name, cls) is not cls:
            raise TypeError(f"event type {name!r} is declared twice")

    @property
    def key(self) -> str:
        """The Kafka key: events of one key are applied in their order."""
        return str(getattr(self, self.key_field))
