"""Alembic's environment script: runs migrations on the connection that `shared.migrations.runner` opens."""

from alembic import context

from shared.migrations.runner import is_compared

config = context.config
context.configure(
    connection=config.attributes["connection"],
    target_metadata=config.attributes["metadata"],
    include_object=is_compared,
    compare_type=True,
    compare_server_default=True,
)
with context.begin_transaction():
    context.run_migrations()
