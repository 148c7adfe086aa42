"""The tables that every service has: outbox, inbox, dead letters, operations, idempotency keys."""

from shared.http import idempotency
from shared.messaging.storage import ddl
from shared.migrations.runner import run_script

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_script(ddl.V1_UP)
    run_script(idempotency.SCHEMA_UP)


def downgrade() -> None:
    run_script(idempotency.SCHEMA_DOWN)
    run_script(ddl.V1_DOWN)
