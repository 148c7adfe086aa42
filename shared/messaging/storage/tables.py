"""The messaging tables of every service's database, declared for Alembic's comparison. `ddl.py` creates them."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BYTEA, JSONB, UUID


def _event_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("event_id", UUID, nullable=False),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("dataschema", sa.Text, nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("traceparent", sa.Text),
        sa.Column("tracestate", sa.Text),
        sa.Column("payload", BYTEA, nullable=False),
    ]


def add_messaging_tables(metadata: sa.MetaData) -> None:
    """Declare the messaging tables on a service's metadata."""
    _add_outbox(metadata)
    _add_relay_lease(metadata)
    _add_inbox(metadata)
    _add_dead_letters(metadata)
    _add_position_actions(metadata)
    _add_job_actions(metadata)
    _add_operations(metadata)


def _add_outbox(metadata: sa.MetaData) -> None:
    sa.Table(
        "event_stream",
        metadata,
        sa.Column("topic", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("moved_on", sa.Date, nullable=False, index=True),
    )
    sa.Table(
        "stream_generation",
        metadata,
        sa.Column("generation", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("timeline", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("raised_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.clock_timestamp()),
    )
    sa.Table(
        "event_stream_floor",
        metadata,
        sa.Column("topic", sa.Text, primary_key=True),
        sa.Column("sequence", sa.BigInteger, nullable=False),
    )
    sa.Table(
        "outbox",
        metadata,
        sa.Column("shard", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        *_event_columns(),
        sa.UniqueConstraint("topic", "key", "sequence"),
        sa.CheckConstraint("octet_length(payload) <= 524288", name="payload_size"),
        _event_id_index("outbox"),
    )
    sa.Table(
        "outbox_sent",
        metadata,
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        *_event_columns(),
        sa.Column("shard", sa.SmallInteger, nullable=False),
        sa.Column("partition", sa.Integer, nullable=False),
        sa.Column("offset", sa.BigInteger, nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=False),
        sa.Index("ix_outbox_sent_sent_at", "sent_at", postgresql_using="brin"),
        sa.Index("ix_outbox_sent_key", "key"),
        _event_id_index("outbox_sent"),
        postgresql_partition_by="RANGE (day)",
    )


def _event_id_index(table: str) -> sa.Index:
    """Return the index by which an event is found: small, since ids rise with time."""
    return sa.Index(
        f"ix_{table}_event_id", "event_id", postgresql_using="brin", postgresql_with={"autosummarize": "on"}
    )


def _add_relay_lease(metadata: sa.MetaData) -> None:
    sa.Table(
        "relay_lease",
        metadata,
        sa.Column("shard", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
    )
    sa.Table(
        "outbox_resend",
        metadata,
        sa.Column("shard", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("resends", sa.BigInteger, nullable=False),
    )
    sa.Table(
        "topic_partitions",
        metadata,
        sa.Column("topic", sa.Text, primary_key=True),
        sa.Column("partitions", sa.Integer, nullable=False),
    )


def _add_inbox(metadata: sa.MetaData) -> None:
    sa.Table(
        "inbox",
        metadata,
        sa.Column("consumer", sa.Text, primary_key=True),
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("event_id", UUID, primary_key=True),
        postgresql_partition_by="RANGE (day)",
    )
    sa.Table(
        "inbox_sequence",
        metadata,
        sa.Column("consumer", sa.Text, primary_key=True),
        sa.Column("topic", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("partition", sa.Integer),
        sa.Column("offset", sa.BigInteger),
        sa.Column("dead_letters", sa.Integer, nullable=False, server_default="0"),
        sa.Column("moved_on", sa.Date, nullable=False, index=True),
    )


def _add_dead_letters(metadata: sa.MetaData) -> None:
    sa.Table(
        "dead_letter",
        metadata,
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("consumer", sa.Text, nullable=False),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("partition", sa.Integer, nullable=False),
        sa.Column("offset", sa.BigInteger, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("event_id", UUID),
        sa.Column("type", sa.Text),
        sa.Column("sequence", sa.BigInteger),
        sa.Column("headers", JSONB, nullable=False),
        sa.Column("payload", BYTEA, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("dead_lettered_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("next_try_at", sa.DateTime(timezone=True)),
        sa.Column("resolution", sa.Text),
        sa.Column("resolved_at", sa.DateTime(timezone=True)),
        sa.UniqueConstraint("consumer", "topic", "partition", "offset"),
        sa.Index("ix_dead_letter_unresolved", "id", postgresql_where=sa.text("resolution IS NULL")),
        sa.Index(
            "ix_dead_letter_blocking",
            "consumer",
            "topic",
            "key",
            "id",
            postgresql_where=sa.text("resolution IS NULL AND reason NOT IN ('foreign', 'undecodable')"),
        ),
        sa.Index("ix_dead_letter_key", "consumer", "topic", "key", "id"),
        sa.Index("ix_dead_letter_event_id", "event_id"),
        sa.Index("ix_dead_letter_resolved", "resolved_at", postgresql_where=sa.text("resolution IS NOT NULL")),
        sa.Index("ix_dead_letter_due", "consumer", "next_try_at", postgresql_where=sa.text("next_try_at IS NOT NULL")),
        sa.Index(
            "ix_dead_letter_waiting",
            "dead_lettered_at",
            postgresql_where=sa.text("resolution IS NULL AND reason <> 'blocked'"),
        ),
    )
    _add_dead_letter_actions(metadata)


def _add_dead_letter_actions(metadata: sa.MetaData) -> None:
    sa.Table(
        "dead_letter_action",
        metadata,
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("dead_letter_id", sa.ForeignKey("dead_letter.id"), nullable=False, index=True),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("detail", sa.Text),
        sa.Column("acted_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Index("ix_dead_letter_action_acted_at", "acted_at", "id", postgresql_where=sa.text("actor <> 'drain'")),
    )


def _add_position_actions(metadata: sa.MetaData) -> None:
    sa.Table(
        "position_action",
        metadata,
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("consumer", sa.Text, nullable=False),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("before", sa.BigInteger, nullable=False),
        sa.Column("after", sa.BigInteger, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("acted_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Index("ix_position_action_consumer_topic_key", "consumer", "topic", "key"),
        sa.Index("ix_position_action_acted_at", "acted_at"),
    )


def _add_job_actions(metadata: sa.MetaData) -> None:
    sa.Table(
        "job_action",
        metadata,
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("job_id", sa.BigInteger, nullable=False),
        sa.Column("entrypoint", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("acted_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.clock_timestamp()),
        sa.Index("ix_job_action_acted_at", "acted_at"),
    )


def _add_operations(metadata: sa.MetaData) -> None:
    sa.Table(
        "operation",
        metadata,
        sa.Column("id", UUID, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("parameters", JSONB, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("total", sa.BigInteger),
        sa.Column("done", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("position", JSONB),
        sa.Column("error", sa.Text),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now(), index=True),
        sa.Column("moved_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.CheckConstraint("status IN ('running', 'done', 'stopped')", name="status"),
    )
