"""Request and response bodies of the page *Dead letters* and its API. The services' own documents describe the rest."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from shared.http.bodies import RequestBody, ResponseBody

Text = Annotated[str, Field(max_length=500)]


class Selection(RequestBody):
    """A selection of a service's unresolved dead letters. A member that is left out selects any."""

    consumer: Text | None = None
    key: Text | None = None
    type: Text | None = None
    reason: Text | None = None
    id: Annotated[int | None, Field(ge=1)] = None

    @property
    def given(self) -> dict[str, Any]:
        """The members that select something."""
        return {name: value for name, value in self if name in Selection.model_fields and value not in {None, ""}}


class DeadLetterAction(Selection):
    """An action on the selected dead letters. A dry run only returns what would be done."""

    action: Literal["replay", "discard"]
    note: Annotated[str, Field(max_length=500, description="The reason of a discard, for the record.")] = ""
    dry_run: bool = False


class ResendRequest(RequestBody):
    """A selection of sent events to resend. A dry run only counts them."""

    since: datetime
    topic: Text | None = None
    key: Text | None = None
    dry_run: bool = False


class RepublicationRequest(RequestBody):
    """The aggregates to republish: those of the given types, or all."""

    types: Annotated[tuple[Text, ...], Field(max_length=20)] = ()


class ServiceDeadLettersView(ResponseBody):
    """The dead letters of one service, oldest first, and the keys that they block."""

    service: str
    error: str | None
    """The reason why the service does not answer, if it does not."""
    items: list[dict[str, Any]]
    """Items of `GET /v1/operations/<service>/dead-letters`."""
    next_cursor: str | None
    blocked_keys: list[dict[str, Any]]
    """Items of `GET /v1/operations/<service>/blocked-keys`."""


class DeadLettersView(ResponseBody):
    """The dead letters of all services."""

    services: list[ServiceDeadLettersView]


class OutcomeView(ResponseBody):
    """The outcome of an action, or of its dry run."""

    service: str
    action: Literal["replay", "discard"]
    dry_run: bool
    selected: int
    """Dead letters that were selected; for a replay, all that block the selected keys."""
    applied: int
    """Events that were applied: the dead letters, and what they had blocked."""
    failures: list[str]
    """The errors with which keys failed again."""
    details: dict[str, Any]
    """The service's own answer."""


class OperatorActionView(ResponseBody):
    """An action of an operator, or of a job that did the same."""

    service: str
    acted_at: str
    subject: str
    subject_id: str | None
    action: str
    actor: str
    outcome: str | None
    note: str | None


class ActionsView(ResponseBody):
    """The last actions in all services, newest first."""

    items: list[OperatorActionView]
    unavailable: dict[str, str]
    """The services that do not answer, with the reason."""
