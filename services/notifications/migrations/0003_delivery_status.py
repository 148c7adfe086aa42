"""Allow only the delivery statuses that exist."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _replace_constraint("status IN ('queued', 'sending', 'sent', 'retrying', 'deferred', 'failed')")


def downgrade() -> None:
    _replace_constraint("status IN ('queued', 'sending', 'sent', 'retrying', 'deferred', 'suppressed', 'failed')")


def _replace_constraint(condition: str) -> None:
    name = op.f("ck_delivery_status")
    op.drop_constraint(name, "delivery")
    op.create_check_constraint(name, "delivery", condition)
