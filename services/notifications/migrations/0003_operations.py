"""Long operations of the operators' tool: how far each one is."""

from shared.messaging import schema
from shared.migrations.runner import run_script

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_script(schema.V2_UP)


def downgrade() -> None:
    run_script(schema.V2_DOWN)
