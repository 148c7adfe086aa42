"""Hooks of Schemathesis: requests that meet data, a check of problems' codes, and the exceptions of exceptions.toml."""

import os
import tomllib
from pathlib import Path
from typing import Any, cast
from zoneinfo import available_timezones

import schemathesis
from hypothesis import strategies as st
from schemathesis.core.failures import Failure

EXCEPTIONS: list[dict[str, Any]] = tomllib.loads((Path(__file__).parent / "exceptions.toml").read_text())["exception"]
Case = schemathesis.Case[Any]

PROBLEM = "application/problem+json"
_CHECKS_OF_FAILURES = {
    "RejectedPositiveData": "positive_data_acceptance",
    "AcceptedNegativeData": "negative_data_rejection",
}
_SKUS = os.environ.get("ORDERLY_FUZZ_SKUS", "").split(",")
_PASSWORD = os.environ.get("ORDERLY_FUZZ_PASSWORD")


class CodeUndocumented(Failure):
    """A problem has a code that its operation does not document for the status."""


# email-validator refuses names that no mail can be sent to, such as those under .test, and characters of old mailboxes.
schemathesis.openapi.format("email", st.from_regex(r"[a-z0-9]{1,20}@[a-z0-9]{1,20}\.example", fullmatch=True))


schemathesis.openapi.format("iana-time-zone", st.sampled_from(sorted(available_timezones())))


@schemathesis.hook
def before_call(_context: object, case: Case, _kwargs: object) -> None:
    """Let most valid orders be of products that exist: random SKUs never do. Let the caller keep the password."""
    is_valid = case.meta is not None and case.meta.generation.mode.is_positive
    if not is_valid or not isinstance(case.body, dict):
        return
    if case.operation.label == "PUT /v1/users/me/password" and _PASSWORD:
        case.body["new_password"] = _PASSWORD
    if case.operation.label == "POST /v1/orders":
        items = cast("list[dict[str, Any]]", case.body.get("items", []))
        for number, item in enumerate(items):
            item["sku"] = _SKUS[(len(item["sku"]) + number) % len(_SKUS)]
            item["quantity"] = min(item["quantity"], 3)


@schemathesis.hook
def filter_failure(_context: object, failure: Failure, _case: Case, response: schemathesis.Response) -> bool:
    """Drop a failure that is an exception."""
    return not any(_is_of(exception, failure, response) for exception in EXCEPTIONS)


@schemathesis.check
def problem_code_conformance(_context: schemathesis.CheckContext, response: schemathesis.Response, case: Case) -> None:
    """Check that a problem's code is among the documented examples of its status."""
    documented = case.operation.definition.raw["responses"].get(str(response.status_code))
    if documented is None or _code_of(response) is None:
        return  # status_code_conformance and content_type_conformance check these
    codes = documented.get("content", {}).get(PROBLEM, {}).get("examples", {})
    if _code_of(response) not in codes:
        raise CodeUndocumented(
            operation=case.operation.label,
            title="Undocumented problem",
            message=f"{response.status_code} {_code_of(response)}; documented: {', '.join(codes)}",
        )


def _is_of(exception: dict[str, Any], failure: Failure, response: schemathesis.Response) -> bool:
    if (_CHECKS_OF_FAILURES.get(type(failure).__name__), response.status_code) != (
        exception["check"],
        exception["status"],
    ):
        return False
    if "error_code" in exception:
        return exception["error_code"] in _error_codes_of(response)
    return "except_code" not in exception or _code_of(response) != exception["except_code"]


def _error_codes_of(response: schemathesis.Response) -> set[str]:
    """Return the codes of a problem's invalid values."""
    return set() if _code_of(response) is None else {error["code"] for error in response.json().get("errors", ())}


def _code_of(response: schemathesis.Response) -> str | None:
    if not response.headers.get("content-type", [""])[0].startswith(PROBLEM):
        return None
    code: str | None = response.json().get("code")
    return code
