"""The DDL of the messaging tables, in released steps.

A released step never changes. To change a table, add a step, and to every service a migration that runs it.
"""

V1_UP = """
CREATE TABLE event_stream (
    topic text NOT NULL,
    key text NOT NULL,
    sequence bigint NOT NULL,
    moved_on date NOT NULL,
    CONSTRAINT pk_event_stream PRIMARY KEY (topic, key)
) WITH (fillfactor = 70);
CREATE INDEX ix_event_stream_moved_on ON event_stream (moved_on);

CREATE TABLE stream_generation (
    generation bigint NOT NULL,
    timeline text NOT NULL,
    actor text NOT NULL,
    note text NOT NULL,
    raised_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT pk_stream_generation PRIMARY KEY (generation)
);
-- The timeline of the server's write-ahead log changes with every fail-over and point-in-time recovery.
INSERT INTO stream_generation (generation, timeline, actor, note)
VALUES (0, substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8), 'migration', 'the first one');

CREATE TABLE event_stream_floor (
    topic text NOT NULL,
    sequence bigint NOT NULL,
    CONSTRAINT pk_event_stream_floor PRIMARY KEY (topic)
);

CREATE TABLE outbox (
    shard smallint NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    event_id uuid NOT NULL,
    topic text NOT NULL,
    key text NOT NULL,
    sequence bigint NOT NULL,
    type text NOT NULL,
    source text NOT NULL,
    dataschema text NOT NULL,
    occurred_at timestamptz NOT NULL,
    traceparent text,
    tracestate text,
    payload bytea NOT NULL,
    CONSTRAINT pk_outbox PRIMARY KEY (shard, id),
    CONSTRAINT uq_outbox_topic_key_sequence UNIQUE (topic, key, sequence),
    CONSTRAINT ck_outbox_payload_size CHECK (octet_length(payload) <= 524288)
) WITH (
    -- A row lives for milliseconds: vacuum after a fixed number of rows, and without cost delay.
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0
);
-- Operators look events up by their ids, which ascend with time. BRIN costs an insert nearly nothing.
CREATE INDEX ix_outbox_event_id ON outbox USING brin (event_id) WITH (autosummarize = on);

CREATE TABLE outbox_sent (
    day date NOT NULL,
    id bigint NOT NULL,
    event_id uuid NOT NULL,
    topic text NOT NULL,
    key text NOT NULL,
    sequence bigint NOT NULL,
    type text NOT NULL,
    source text NOT NULL,
    dataschema text NOT NULL,
    occurred_at timestamptz NOT NULL,
    traceparent text,
    tracestate text,
    payload bytea NOT NULL,
    shard smallint NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    sent_at timestamptz NOT NULL,
    CONSTRAINT pk_outbox_sent PRIMARY KEY (day, id)
) PARTITION BY RANGE (day);
CREATE INDEX ix_outbox_sent_sent_at ON outbox_sent USING brin (sent_at);
CREATE INDEX ix_outbox_sent_key ON outbox_sent (key);
CREATE INDEX ix_outbox_sent_event_id ON outbox_sent USING brin (event_id) WITH (autosummarize = on);

CREATE TABLE relay_lease (
    shard smallint NOT NULL,
    owner text NOT NULL,
    epoch bigint NOT NULL,
    expires_at timestamptz NOT NULL,
    CONSTRAINT pk_relay_lease PRIMARY KEY (shard)
);

CREATE TABLE outbox_resend (
    shard smallint NOT NULL,
    resends bigint NOT NULL,
    CONSTRAINT pk_outbox_resend PRIMARY KEY (shard)
);

CREATE TABLE topic_partitions (
    topic text NOT NULL,
    partitions integer NOT NULL,
    CONSTRAINT pk_topic_partitions PRIMARY KEY (topic)
);

CREATE TABLE inbox (
    consumer text NOT NULL,
    day date NOT NULL,
    event_id uuid NOT NULL,
    CONSTRAINT pk_inbox PRIMARY KEY (consumer, day, event_id)
) PARTITION BY RANGE (day);

CREATE TABLE inbox_sequence (
    consumer text NOT NULL,
    topic text NOT NULL,
    key text NOT NULL,
    sequence bigint NOT NULL,
    partition integer,
    "offset" bigint,
    dead_letters integer NOT NULL DEFAULT 0,
    moved_on date NOT NULL,
    CONSTRAINT pk_inbox_sequence PRIMARY KEY (consumer, topic, key)
) WITH (fillfactor = 70);
CREATE INDEX ix_inbox_sequence_moved_on ON inbox_sequence (moved_on);

CREATE TABLE dead_letter (
    id bigint GENERATED ALWAYS AS IDENTITY,
    consumer text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    key text NOT NULL,
    event_id uuid,
    type text,
    sequence bigint,
    headers jsonb NOT NULL,
    payload bytea NOT NULL,
    reason text NOT NULL,
    error text,
    dead_lettered_at timestamptz NOT NULL DEFAULT now(),
    next_try_at timestamptz,
    resolution text,
    resolved_at timestamptz,
    CONSTRAINT pk_dead_letter PRIMARY KEY (id),
    CONSTRAINT uq_dead_letter_consumer_topic_partition_offset UNIQUE (consumer, topic, partition, "offset")
);
CREATE INDEX ix_dead_letter_unresolved ON dead_letter (id) WHERE resolution IS NULL;
CREATE INDEX ix_dead_letter_blocking ON dead_letter (consumer, topic, key, id)
WHERE resolution IS NULL AND reason NOT IN ('foreign', 'undecodable');
CREATE INDEX ix_dead_letter_key ON dead_letter (consumer, topic, key, id);
CREATE INDEX ix_dead_letter_event_id ON dead_letter (event_id);
CREATE INDEX ix_dead_letter_resolved ON dead_letter (resolved_at) WHERE resolution IS NOT NULL;
CREATE INDEX ix_dead_letter_due ON dead_letter (consumer, next_try_at) WHERE next_try_at IS NOT NULL;
CREATE INDEX ix_dead_letter_waiting ON dead_letter (dead_lettered_at) WHERE resolution IS NULL AND reason <> 'blocked';

CREATE TABLE dead_letter_action (
    id bigint GENERATED ALWAYS AS IDENTITY,
    dead_letter_id bigint NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    outcome text NOT NULL,
    detail text,
    acted_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_dead_letter_action PRIMARY KEY (id),
    CONSTRAINT fk_dead_letter_action_dead_letter_id FOREIGN KEY (dead_letter_id) REFERENCES dead_letter (id)
);
CREATE INDEX ix_dead_letter_action_dead_letter_id ON dead_letter_action (dead_letter_id);
-- The record of who did what leaves out the automatic retries.
CREATE INDEX ix_dead_letter_action_acted_at ON dead_letter_action (acted_at, id) WHERE actor <> 'drain';

CREATE TABLE position_action (
    id bigint GENERATED ALWAYS AS IDENTITY,
    consumer text NOT NULL,
    topic text NOT NULL,
    key text NOT NULL,
    actor text NOT NULL,
    before bigint NOT NULL,
    after bigint NOT NULL,
    note text NOT NULL,
    acted_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_position_action PRIMARY KEY (id)
);
CREATE INDEX ix_position_action_consumer_topic_key ON position_action (consumer, topic, key);
CREATE INDEX ix_position_action_acted_at ON position_action (acted_at);

CREATE TABLE job_action (
    id bigint GENERATED ALWAYS AS IDENTITY,
    job_id bigint NOT NULL,
    entrypoint text NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    note text NOT NULL,
    acted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT pk_job_action PRIMARY KEY (id)
);
CREATE INDEX ix_job_action_acted_at ON job_action (acted_at);

CREATE TABLE operation (
    id uuid NOT NULL,
    kind text NOT NULL,
    actor text NOT NULL,
    parameters jsonb NOT NULL,
    status text NOT NULL,
    total bigint,
    done bigint NOT NULL DEFAULT 0,
    position jsonb,
    error text,
    started_at timestamptz NOT NULL DEFAULT now(),
    moved_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_operation PRIMARY KEY (id),
    CONSTRAINT ck_operation_status CHECK (status IN ('running', 'done', 'stopped'))
);
CREATE INDEX ix_operation_started_at ON operation (started_at);

-- The service's role may not create or drop tables: it calls this function, which runs as the owner of the tables.
-- Dropping needs a lock for which consumers wait: it is requested for a moment only, for one table per call.
CREATE FUNCTION maintain_daily_partitions(parent text, first_day date, last_day date)
RETURNS TABLE (action text, partition_name text)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp
SET lock_timeout = '100ms'
AS $$
DECLARE
    wanted date;
    expired text;
BEGIN
    IF parent IS NULL OR parent NOT IN ('inbox', 'outbox_sent') THEN
        RAISE EXCEPTION '% has no daily partitions', parent;
    END IF;
    FOR wanted IN SELECT first_day + n FROM generate_series(0, last_day - first_day) AS n LOOP
        partition_name := parent || '_p' || to_char(wanted, 'YYYYMMDD');
        CONTINUE WHEN to_regclass(partition_name) IS NOT NULL;
        -- Attaching a table lets statements on the parent continue; CREATE TABLE ... PARTITION OF does not.
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', partition_name, parent);
        EXECUTE format(
            'ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
            parent, partition_name, wanted, wanted + 1
        );
        action := 'created';
        RETURN NEXT;
    END LOOP;
    SELECT c.relname INTO expired
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = parent::regclass AND c.relname < parent || '_p' || to_char(first_day, 'YYYYMMDD')
    ORDER BY c.relname LIMIT 1;
    IF expired IS NOT NULL THEN
        partition_name := expired;
        BEGIN
            EXECUTE format('DROP TABLE %I', expired);
            action := 'dropped';
        EXCEPTION WHEN lock_not_available THEN
            action := 'postponed';
        END;
        RETURN NEXT;
    END IF;
END
$$;
"""

V1_DOWN = """
DROP FUNCTION maintain_daily_partitions;
DROP TABLE
    operation, job_action, position_action, dead_letter_action, dead_letter, inbox_sequence, inbox, topic_partitions,
    outbox_resend, relay_lease, outbox_sent, outbox, event_stream_floor, stream_generation, event_stream;
"""
