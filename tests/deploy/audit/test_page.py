"""The pages of the serving audit: every invariant with its findings, and the metrics beside them."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2

from deploy.audit.findings import Invariant, Key, Kind, Violation
from deploy.audit.metrics import AuditMetrics
from deploy.audit.page import FindingsPage, served
from deploy.audit.runs import Outcome
from deploy.audit.settings import AuditSettings
from deploy.audit.watermarks import Acceptance, State

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
OPEN = Violation(Invariant.NO_GAP, Key(Kind.STREAM, "orders/7"), "orders 7 has a gap", "python -m services.orders ...")
ACCEPTED = Violation(Invariant.OUTBOX_EMPTY, Key(Kind.WAITING, "orders/outbox/1"), "not sent", "serve --role relay")


def test_the_page_is_served_on_an_address_of_ipv6(tmp_path: Path) -> None:
    with served(_settings(tmp_path, http_host="::1"), AuditMetrics(), FindingsPage()) as port:
        assert httpx2.get(f"http://[::1]:{port}/findings").status_code == 200


def test_the_page_names_each_invariant_before_and_after_a_run_and_keeps_it_after_a_failure(tmp_path: Path) -> None:
    page = FindingsPage()
    with (
        served(_settings(tmp_path), AuditMetrics(), page) as port,
        httpx2.Client(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        before = client.get("/findings").json()
        assert (before["version"], before["run"], before["failed_runs"]) == (1, None, 0)
        assert {each["state"] for each in before["invariants"]} == {"unknown"}

        page.publish(_outcome(), _state())
        page.failed("Kafka does not answer")
        answer = client.get("/findings?of=now")
        assert answer.headers["content-type"] == "application/json"
        document = answer.json()
        assert "audit_violations" in client.get("/metrics").text
        assert client.get("/nothing").status_code == 404

    assert (document["failed_runs"], document["last_error"]) == (1, "Kafka does not answer")
    run = document["run"]
    assert (run["mode"], run["started_at"], run["checked"], run["skipped"]) == (
        "incremental",
        NOW.isoformat(),
        {"order": 3},
        ["topics: Kafka does not answer"],
    )
    invariants: dict[str, dict[str, Any]] = {each["name"]: each for each in document["invariants"]}
    assert list(invariants) == [each.label for each in Invariant]
    assert {name: each["state"] for name, each in invariants.items() if each["state"] != "green"} == {
        "no_gap": "violated",
        "outbox_empty": "accepted",
    }
    assert invariants["no_gap"]["rule"] == "No key has a gap in its events"
    assert invariants["no_gap"]["findings"] == [
        {
            "id": "no_gap:stream:orders/7",
            "kind": "stream",
            "key": "orders/7",
            "text": "orders 7 has a gap",
            "command": "python -m services.orders ...",
            "first_found_at": NOW.isoformat(),
            "accepted": None,
        }
    ]
    (accepted,) = invariants["outbox_empty"]["findings"]
    assert accepted["accepted"] == {"actor": "ann", "note": "known", "at": NOW.isoformat()}


def _state() -> State:
    state = State()
    state.replace_found([OPEN, ACCEPTED], now=NOW)
    state.accepted[ACCEPTED.id] = Acceptance(text=ACCEPTED.text, actor="ann", note="known", at=NOW)
    return state


def _outcome() -> Outcome:
    outcome = Outcome("incremental", NOW, seconds=0.2, skipped=["topics: Kafka does not answer"])
    outcome.checked.update({"order": 3})
    return outcome


def _settings(folder: Path, *, http_host: str = "127.0.0.1") -> AuditSettings:
    return AuditSettings(
        users_database_url="postgresql://audit@127.0.0.1/users",
        orders_database_url="postgresql://audit@127.0.0.1/orders",
        notifications_database_url="postgresql://audit@127.0.0.1/notifications",
        state_file=folder / "audit.json",
        http_host=http_host,
        http_port=0,
    )
