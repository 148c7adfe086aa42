"""Remember which services were restored and have not run `python -m services.<service> recover` since.

That command needs Kafka and the restored database, which a restore does not have. So a restore leaves a file beside the
data folder, and whoever starts the service next runs the command first, and then calls `recovery_done`.
"""

from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict

from deploy.backup.restore import Restored


class RecoveryDue(BaseModel):
    """The state to which the service was restored."""

    model_config = ConfigDict(frozen=True)

    service: str
    reached_lsn: str
    last_transaction_at: AwareDatetime | None
    to: AwareDatetime | None
    """The time that was asked for; None for the newest state."""


def mark_recovery_due(data_folder: Path, restored: Restored) -> None:
    """Let the next start of the service run its `recover` command first."""
    due = RecoveryDue(
        service=restored.service,
        reached_lsn=restored.reached_lsn,
        last_transaction_at=restored.last_transaction_at,
        to=restored.to,
    )
    _file_of(data_folder).write_text(due.model_dump_json(indent=2) + "\n")


def recovery_due(data_folder: Path) -> RecoveryDue | None:
    """Return what the service was restored to; None if it needs no `recover`."""
    file = _file_of(data_folder)
    return RecoveryDue.model_validate_json(file.read_text()) if file.exists() else None


def recovery_done(data_folder: Path) -> None:
    """Let the service start without `recover` from now on, which has succeeded."""
    _file_of(data_folder).unlink(missing_ok=True)


def _file_of(data_folder: Path) -> Path:
    return data_folder.with_name(f"{data_folder.name}.recover.json")
