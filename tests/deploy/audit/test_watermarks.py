"""The state between runs is one file, replaced as a whole, and a file that is none of ours is refused."""

import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deploy.audit.findings import Invariant, Key, Kind, Violation
from deploy.audit.watermarks import MAX_FOUND, Acceptance, State, StateUnusable, locked_state, read_state

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
VIOLATION = Violation(Invariant.CREDIT_AGREED, Key(Kind.ORDER, "0199"), "text", "command", NOW)


def test_the_state_survives(tmp_path: Path) -> None:
    file = tmp_path / "new" / "audit.json"
    with locked_state(file) as state:
        state.watermarks["users"] = "2026-11-29/17"
        state.parts["orders"] = "0199"
        state.open = [Key(Kind.STREAM, "orders/0199")]
        state.replace_found([VIOLATION], now=NOW)
        state.accepted["id"] = Acceptance(text="text", actor="ada", note="lost", at=NOW)

    assert read_state(file) == state
    assert read_state(file).found == [VIOLATION]


def test_an_error_keeps_the_state_before(tmp_path: Path) -> None:
    file = tmp_path / "audit.json"
    with locked_state(file) as state:
        state.parts["orders"] = "1"
    with pytest.raises(RuntimeError), locked_state(file) as state:
        state.parts["orders"] = "2"
        raise RuntimeError

    assert read_state(file).parts == {"orders": "1"}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 2}', '{"version": 1, "unknown": 1}', '{"open": [["x"]]}'])
def test_a_file_of_another_form_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "audit.json"
    file.write_text(text)

    with pytest.raises(StateUnusable, match="Move it away to begin anew"):
        read_state(file)
    assert file.read_text() == text


def test_only_one_audit_uses_a_file(tmp_path: Path) -> None:
    file = tmp_path / "audit.json"
    with locked_state(file), pytest.raises(StateUnusable, match="another audit uses it"), locked_state(file):
        pass


def test_the_number_of_findings_is_bounded() -> None:
    state = State()
    many = [Violation(Invariant.CREDIT_AGREED, Key(Kind.ORDER, str(number)), "", "") for number in range(MAX_FOUND + 1)]

    state.replace_found(many, now=NOW)

    assert len(state.found) == len(state.first_found_at) == MAX_FOUND


def test_a_command_waits_for_the_run_that_uses_the_state(tmp_path: Path) -> None:
    file = tmp_path / "audit.json"
    used, may_end = threading.Event(), threading.Event()

    def use() -> None:
        with locked_state(file) as state:
            used.set()
            may_end.wait(10)
            state.parts["orders"] = "1"

    other = threading.Thread(target=use)
    other.start()
    assert used.wait(10)
    threading.Timer(0.2, may_end.set).start()
    with locked_state(file, wait_seconds=10) as state:
        assert state.parts == {"orders": "1"}
    other.join()
