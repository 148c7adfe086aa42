"""Resolved parked events are found by their age, to be deleted."""

from shared.messaging import schema
from shared.migrations.runner import run_script

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_script(schema.V3_UP)


def downgrade() -> None:
    run_script(schema.V3_DOWN)
