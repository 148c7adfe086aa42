"""The history of a campaign's requests, the state that they led to, and nothing that reads or writes: data only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, NamedTuple

SAYS_NOTHING = frozenset({"status_404", "status_408"})
"""Codes of client errors that say nothing about the request: a gateway that has not loaded its routes, or a time-out.
A problem of the services has a code of its own."""
KEY_IN_USE = "idempotency_key_in_use"
"""The code of the client error that a request gets while another one with its Idempotency-Key is in progress."""
TRY_AGAIN = frozenset({401, 429})
"""Statuses that a request may get whatever an earlier one with its Idempotency-Key has done."""


class Outcome(Enum):
    """The conclusion that a client may draw from an answer, or from the lack of one."""

    SUCCESS = "success"
    CLIENT_ERROR = "client error"
    """The request has changed nothing."""
    UNKNOWN = "unknown"
    """The request may have been carried out, or may still be."""


class Resource(NamedTuple):
    """The subject of a request. `kind` is the topic of its events; or `credit` or `order list`, of a user."""

    kind: str
    key: str

    def __str__(self) -> str:
        return f"{self.kind} {self.key}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The response to a request. `body` has its essential members only."""

    status: int
    code: str = ""
    version: int | None = None
    """The version in the ETag."""
    body: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""
    """A hash of the whole body, to compare answers that have to be equal."""
    is_replayed: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One request; a repetition is a request of its own. Times are seconds since the campaign began."""

    number: int
    session: str
    caller: str
    """The user id in the access token; empty without one."""
    method: str
    path: str
    started: float
    ended: float
    """The time at which the answer came, or the client gave up."""
    sent_at: datetime
    sent: Mapping[str, Any] = field(default_factory=dict)
    """The essential members of its body."""
    key: str | None = None
    """The Idempotency-Key."""
    if_match: int | None = None
    answer: Answer | None = None
    error: str = ""
    """The error of the transport, if there is no answer."""

    @property
    def outcome(self) -> Outcome:
        """The conclusion that the client may draw."""
        if self.answer is None or self.answer.status >= 500 or self.answer.code in SAYS_NOTHING:
            return Outcome.UNKNOWN
        return Outcome.SUCCESS if self.answer.status < 400 else Outcome.CLIENT_ERROR

    @property
    def body(self) -> Mapping[str, Any]:
        """The essential members of the answer; none without an answer."""
        return self.answer.body if self.answer is not None else {}

    @property
    def is_success(self) -> bool:
        """Return whether the answer has a status below 400."""
        return self.outcome is Outcome.SUCCESS

    @property
    def is_read(self) -> bool:
        """Return whether it changes nothing."""
        return self.method == "GET"

    @property
    def resource(self) -> Resource | None:
        """The resource that it reads or changes; None if that is unknown, or without a rule."""
        return _resource_of(self)

    @property
    def has_changed(self) -> bool:
        """Return whether it has certainly made a new version: neither a repetition nor a change to the same values."""
        answer = self.answer
        if answer is None or not self.is_success or self.is_read or answer.is_replayed:
            return False
        return answer.version is not None and answer.version != self.if_match

    def __str__(self) -> str:
        answer = "no answer" if self.answer is None else f"{self.answer.status}"
        if self.answer is not None and self.answer.code:
            answer += f" {self.answer.code}"
        if self.answer is not None and self.answer.version is not None:
            answer += f" version {self.answer.version}"
        condition = "" if self.if_match is None else f" If-Match {self.if_match}"
        span = f"{self.started:.3f}-{self.ended:.3f} s"
        return f"#{self.number} {self.session} {self.method} {self.path}{condition} ({span}): {answer}"


class Interval(NamedTuple):
    """A time in seconds since the campaign began."""

    started: float
    ended: float

    def meets(self, started: float, ended: float) -> bool:
        """Return whether the two have a moment in common."""
        return self.started <= ended and started <= self.ended


class TimelineEntry(NamedTuple):
    """A change of an order, as its timeline has it."""

    status: str
    refunded_cents: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class CreditStep:
    """A change of a user's credit, as one event of the user's stream has it."""

    sequence: int
    order: str
    cents: int
    """The reserved amount; negative if it was released."""
    refunded_cents: int = 0
    """The user's refunds that may have been applied by then."""


@dataclass(frozen=True, kw_only=True)
class FinalState:
    """The state of the history's users, orders and products in the databases, once everything is applied."""

    versions: Mapping[Resource, int]
    fields: Mapping[Resource, Mapping[str, Any]]
    """The values of users, products and credit that requests change."""
    updates: Mapping[Resource, Sequence[Mapping[str, Any]]]
    """The data of each `user.updated` and `product.updated`, in their order."""
    orders_of: Mapping[str, frozenset[str]]
    """Order ids by user."""
    timelines: Mapping[str, Sequence[TimelineEntry]]
    """The changes of each order after it was placed."""
    credit_steps: Mapping[str, Sequence[CreditStep]]
    """The changes of each user's credit, in the order of the sequence."""


@dataclass(frozen=True, kw_only=True)
class Observed:
    """Everything that the rules judge."""

    requests: Sequence[Request]
    final: FinalState
    samples: Sequence[str] = ()
    """The violations that samples during the campaign have found, each with its time."""
    cache_outages: Sequence[Interval] = ()
    """The times at which the cache may have been unavailable to the orders service."""
    cache_seconds: float = 30.0
    """Time for which a cached value may outlive a change whose invalidation has failed."""


def _resource_of(request: Request) -> Resource | None:
    _, collection, *rest = [*request.path.strip("/").split("/"), ""]
    match collection, rest:
        case ("users", ["verified", ""]) | ("users" | "orders" | "products", [""]):
            return _resource_of_collection(request, collection)
        case "users", [user, *action]:
            kind = "credit" if action[0].startswith("credit") else "users"
            return Resource(kind, request.caller if user == "me" else user)
        case "orders" | "products", [key, *_]:
            return Resource(collection, key)
        case _:
            return None


def _resource_of_collection(request: Request, collection: str) -> Resource | None:
    """Return what a POST creates, or the list that a GET reads."""
    if request.method == "GET":
        return Resource("order list", request.caller) if collection == "orders" else None
    key = request.sent.get("sku") if collection == "products" else request.body.get("id")
    return Resource(collection, str(key)) if key else None
