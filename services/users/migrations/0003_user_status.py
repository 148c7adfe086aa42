"""Allow only the user statuses that exist."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _replace_constraint("status IN ('active', 'suspended')")


def downgrade() -> None:
    _replace_constraint("status IN ('active', 'suspended', 'erasing', 'erased')")


def _replace_constraint(condition: str) -> None:
    name = op.f("ck_user_account_status")
    op.drop_constraint(name, "user_account")
    op.create_check_constraint(name, "user_account", condition)
