"""Reads of the page *Invariants*: the audit's own page."""

from datetime import UTC, datetime
from typing import Any

import httpx2

from deploy.console.invariants.schemas import InvariantsView
from deploy.console.settings import ConsoleSettings

TIMEOUT_SECONDS = 5.0
OLD_SECONDS = 180.0
"""Age of the last completed run from which the page says that the state is old."""


async def invariants(settings: ConsoleSettings) -> InvariantsView:
    """Return the state of each invariant after the last completed run. Never raises: `error` says what is wrong."""
    if settings.audit_url is None:
        return _unknown("CONSOLE_AUDIT_URL is not set: the console knows of no audit.")
    try:
        async with httpx2.AsyncClient(timeout=TIMEOUT_SECONDS) as client:
            found = (await client.get(f"{settings.audit_url}/findings")).raise_for_status().json()
    except (httpx2.HTTPError, ValueError) as error:
        return _unknown(f"The audit does not answer ({type(error).__name__}).")
    return _view(found)


def _view(found: dict[str, Any]) -> InvariantsView:
    view = InvariantsView.model_validate({"state": "unknown", "error": found["last_error"], **found})
    if view.run is None:
        return view.model_copy(update={"error": view.error or "No run of the audit has completed yet."})
    violated = any(each.state == "violated" for each in view.invariants)
    age = (datetime.now(UTC) - view.run.completed_at).total_seconds()
    old = f"The last completed run ended {age:.0f} s ago." if age > OLD_SECONDS else None
    return view.model_copy(update={"state": "violated" if violated else "green", "error": view.error or old})


def _unknown(reason: str) -> InvariantsView:
    return InvariantsView(state="unknown", error=reason, failed_runs=0, run=None, invariants=[])
