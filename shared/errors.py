"""Refusals: the expected errors, each with an HTTP status and a stable code.

    Problem
    ├── Unauthenticated       401
    ├── Forbidden             403
    ├── NotFound              404
    ├── Conflict              409
    ├── PreconditionFailed    412
    ├── PreconditionRequired  428
    └── TooManyRequests       429

A service subclasses beside the rule that refuses. Anything raised that is not a Problem is a fault: logged, and status
500, or 503 where the database is what keeps the request from being answered.
"""

from collections.abc import Mapping
from datetime import timedelta
from math import ceil
from typing import Any, ClassVar


class Problem(Exception):
    """The request was refused."""

    status: ClassVar[int] = 400
    code: ClassVar[str] = "refused"
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
        """`detail` and `extra` go to the client: nothing internal in them."""
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
    """You may not do this."""

    status = 403
    code = "forbidden"


class NotFound(Problem):
    """There is no such thing."""

    status = 404
    code = "not_found"


class Conflict(Problem):
    """The request conflicts with the present state."""

    status = 409
    code = "conflict"


class PreconditionFailed(Problem):
    """It was changed since you read it."""

    status = 412
    code = "precondition_failed"


class PreconditionRequired(Problem):
    """The request must say which version it changes."""

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
