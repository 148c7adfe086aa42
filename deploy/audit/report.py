"""The report of a run: one JSON document for programs, or lines for people."""

import json
from collections.abc import Iterator
from typing import Any

from deploy.audit.runs import Outcome
from deploy.audit.watermarks import State

FORMAT = 1
"""The version of the document. It grows by members; any other change raises the number."""


def as_document(outcome: Outcome, state: State) -> dict[str, Any]:
    """Return the run as values of JSON."""
    return {
        "version": FORMAT,
        "mode": outcome.mode,
        "started_at": outcome.started_at.isoformat(),
        "seconds": round(outcome.seconds, 3),
        "checked": dict(sorted(outcome.checked.items())),
        "open": outcome.open,
        "accepted": outcome.accepted,
        "watermark_age_seconds": outcome.watermark_age_seconds,
        "skipped": outcome.skipped,
        "findings": [
            {
                "id": violation.id,
                "invariant": violation.invariant.label,
                "rule": violation.invariant.value,
                "kind": violation.key.kind.value,
                "key": violation.key.value,
                "text": violation.text,
                "command": violation.command,
                "first_found_at": state.first_found_at[violation.id].isoformat(),
            }
            for violation in outcome.reported
        ],
    }


def as_json(outcome: Outcome, state: State) -> str:
    """Return the document as text."""
    return json.dumps(as_document(outcome, state), indent=2)


def as_lines(outcome: Outcome, state: State) -> Iterator[str]:
    """Yield the findings with their commands, then a summary."""
    for violation in outcome.reported:
        since = state.first_found_at[violation.id].isoformat(sep=" ", timespec="seconds")
        yield f"✗ {violation.invariant.value}"
        yield f"    {violation.text}"
        yield f"    {violation.command}"
        yield f"    {violation.id}, since {since}"
    for skipped in outcome.skipped:
        yield f"! not checked: {skipped}"
    left = {service: age for service, age in outcome.watermark_age_seconds.items() if age}
    for service, age in sorted(left.items()):
        yield f"! {service}: sent events of the last {age:.0f} s are left for the next run"
    mark = "✗" if outcome.reported else "✓"
    checked = ", ".join(f"{count} {kind}s" for kind, count in sorted(outcome.checked.items()))
    yield f"{mark} {len(outcome.reported)} findings ({outcome.accepted} accepted) in {outcome.seconds:.1f} s: {checked}"
    if outcome.open:
        yield f"  {outcome.open} keys have changed lately and are checked again in the next run"
