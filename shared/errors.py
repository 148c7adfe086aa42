"""Client errors, each with an HTTP status and a stable code; the response is an RFC 9457 problem.

    Problem
    ├── Unauthenticated       401
    ├── Forbidden             403
    ├── NotFound              404
    ├── Conflict              409
    ├── PreconditionFailed    412
    ├── PreconditionRequired  428
    └── TooManyRequests       429

A service declares its own subclasses beside the rule that raises them. Every other exception is unexpected: it is
logged, and the response is a 500, or a 503 if the database is unavailable.
"""

from collections.abc import Mapping
from datetime import timedelta
from math import ceil
from typing import Any, ClassVar


class Problem(Exception):
    """The request cannot be processed."""

    status: ClassVar[int] = 400
    code: ClassVar[str] = "bad_request"
    title: ClassVar[str]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "title" not in cls.__dict__:
            cls.title = _first_line(cls)

    def __init__(
        self,
        detail: str | None = None,
        *,
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Describe one occurrence. `detail` and `extra` are sent to the client: put nothing internal into them."""
        super().__init__(detail or self.title)
        self.detail = detail
        self.extra: dict[str, Any] = dict(extra or {})
        self.headers: dict[str, str] = dict(headers or {})


def _first_line(problem: type[Problem]) -> str:
    return (problem.__doc__ or problem.__name__).strip().splitlines()[0].rstrip(".")


Problem.title = _first_line(Problem)


class Unauthenticated(Problem):
    """Authentication is required."""

    status = 401
    code = "unauthenticated"
    challenge: ClassVar[str] = "Bearer"

    def __init__(self, detail: str | None = None, *, extra: Mapping[str, Any] | None = None) -> None:
        super().__init__(detail, extra=extra, headers={"WWW-Authenticate": self.challenge})


class Forbidden(Problem):
    """You are not allowed to do this."""

    status = 403
    code = "forbidden"


class NotFound(Problem):
    """The resource does not exist."""

    status = 404
    code = "not_found"


class Conflict(Problem):
    """The request conflicts with the current state of the resource."""

    status = 409
    code = "conflict"


class PreconditionFailed(Problem):
    """The resource has changed since you read it."""

    status = 412
    code = "precondition_failed"


class PreconditionRequired(Problem):
    """The If-Match header is required."""

    status = 428
    code = "precondition_required"


class TooManyRequests(Problem):
    """Too many requests."""

    status = 429
    code = "too_many_requests"

    def __init__(
        self, detail: str | None = None, *, retry_after: timedelta, extra: Mapping[str, Any] | None = None
    ) -> None:
        seconds = max(1, ceil(retry_after.total_seconds()))
        super().__init__(detail, extra=extra, headers={"Retry-After": str(seconds)})
