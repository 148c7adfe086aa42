"""The base class of events: an immutable fact with a type, a topic and the key by which it is ordered."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

EVENT_TYPES: dict[str, type["Event"]] = {}
"""Every concrete event class by its CloudEvents type. Importing the modules of this package fills it."""


class Event(BaseModel):
    """A fact, named in the past tense. Concrete subclasses set `type`; their base classes set `topic` and `key_field`.

    Unknown fields are ignored, so that a newer version with more fields can be read.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", use_attribute_docstrings=True)

    type: ClassVar[str]
    topic: ClassVar[str]
    key_field: ClassVar[str]

    @classmethod
    def __pydantic_init_subclass__(cls, **_kwargs: Any) -> None:
        """Register a concrete event. Raises: TypeError if two classes have the same type."""
        name = cls.__dict__.get("type")
        if name is None:
            return
        if EVENT_TYPES.setdefault(name, cls) is not cls:
            raise TypeError(f"event type {name!r} is declared twice")

    @property
    def key(self) -> str:
        """The Kafka key. Events with the same key are applied in their order."""
        return str(getattr(self, self.key_field))
