-- Landing: what arrived, exactly as it arrived, append-only.

CREATE SCHEMA landing;
COMMENT ON SCHEMA landing IS 'Usage events as they arrived. Append-only; written by the ingestion service and by file imports.';

CREATE TABLE landing.batches (
    batch_id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    recorded_at       timestamptz NOT NULL,
    source            text NOT NULL,
    accepted          bigint NOT NULL,
    duplicates        bigint NOT NULL,
    quarantined       bigint NOT NULL,
    first_occurred_at timestamptz,
    last_occurred_at  timestamptz
);
CREATE INDEX batches_recorded_at ON landing.batches (recorded_at);
COMMENT ON TABLE landing.batches IS
    'One row a committed group of events. recorded_at is taken while holding the landing lock in shared mode, so that '
    'whoever takes that lock exclusively knows a moment before which everything has been committed: landing.take_horizon().';
COMMENT ON COLUMN landing.batches.source IS 'http, or file:<name>.';

-- Two tables, because a unique key over months cannot be declared on a table partitioned by month: event_keys says that a
-- key has counted, once and for ever; usage_events holds what it said. Both are written by one transaction.
CREATE TABLE landing.event_keys (
    team_id        integer NOT NULL,
    key_digest     uuid NOT NULL,
    content_digest uuid NOT NULL,
    occurred_at    timestamptz NOT NULL,
    PRIMARY KEY (team_id, key_digest)
);
COMMENT ON TABLE landing.event_keys IS
    'Each idempotency key that has ever counted, by its 16-byte digest. Kept when the event itself is archived.';
COMMENT ON COLUMN landing.event_keys.content_digest IS 'Tells a repetition (same digest) from a conflict (another).';
COMMENT ON COLUMN landing.event_keys.occurred_at IS 'Leads to the event: it is part of its primary key.';

CREATE TABLE landing.usage_events (
    team_id     integer NOT NULL,
    occurred_at timestamptz NOT NULL,
    key_digest  uuid NOT NULL,
    event_key   text NOT NULL,
    event_name  text NOT NULL,
    quantity    numeric(38, 12) NOT NULL,
    unit        text,
    subject     text,
    properties  jsonb NOT NULL DEFAULT '{}',
    batch_id    bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (team_id, occurred_at, key_digest)
) PARTITION BY RANGE (occurred_at);
-- Rows lie on disk in the order in which they were recorded, so a block range index finds an increment for next to nothing.
CREATE INDEX usage_events_recorded_at ON landing.usage_events USING brin (recorded_at) WITH (pages_per_range = 16);
COMMENT ON TABLE landing.usage_events IS
    'Usage events, one row an event that counts, partitioned by month (UTC) of the time it occurred. Never updated.';
COMMENT ON COLUMN landing.usage_events.occurred_at IS 'When it happened, as the sender says.';
COMMENT ON COLUMN landing.usage_events.recorded_at IS 'When we knew it: the recorded_at of its batch.';
COMMENT ON COLUMN landing.usage_events.subject IS 'Who or what within the team used it, where the sender says so.';

CREATE TABLE landing.event_withdrawals (
    team_id     integer NOT NULL,
    key_digest  uuid NOT NULL,
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    reason      text NOT NULL,
    PRIMARY KEY (team_id, occurred_at, key_digest)
);
CREATE INDEX event_withdrawals_recorded_at ON landing.event_withdrawals (recorded_at);
COMMENT ON TABLE landing.event_withdrawals IS
    'Events that no longer count from recorded_at on. The event itself stays, and so does its key.';

CREATE TABLE landing.quarantined_events (
    team_id           integer NOT NULL DEFAULT 0,
    quarantine_digest uuid NOT NULL,
    reason            text NOT NULL,
    field             text,
    message           text NOT NULL,
    source            text NOT NULL,
    line              bigint,
    payload           text NOT NULL,
    first_recorded_at timestamptz NOT NULL,
    last_recorded_at  timestamptz NOT NULL,
    times_seen        bigint NOT NULL DEFAULT 1,
    status            text NOT NULL DEFAULT 'held' CHECK (status IN ('held', 'resent', 'discarded')),
    PRIMARY KEY (team_id, quarantine_digest)
);
CREATE INDEX quarantined_events_held ON landing.quarantined_events (last_recorded_at) WHERE status = 'held';
COMMENT ON TABLE landing.quarantined_events IS
    'What could not be counted, with its reason. The digest is of the payload and the reason, so that sending the same '
    'mistake again is seen again and not stored again. Team 0 stands for a team that is not known.';

-- Lock 7001 orders recording: writers hold it shared until they have committed.
CREATE FUNCTION landing.record_now() RETURNS timestamptz
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(7001);
    RETURN clock_timestamp();
END $$;
COMMENT ON FUNCTION landing.record_now() IS
    'The recorded_at for rows of this transaction. Until it ends, no horizon at or after this moment can be taken.';

CREATE FUNCTION landing.take_horizon() RETURNS timestamptz
LANGUAGE plpgsql AS $$
DECLARE
    horizon timestamptz;
BEGIN
    PERFORM pg_advisory_lock(7001);
    horizon := clock_timestamp();
    PERFORM pg_advisory_unlock(7001);
    RETURN horizon;
END $$;
COMMENT ON FUNCTION landing.take_horizon() IS
    'A moment before which every recorded row has been committed and after which every later one will be recorded. '
    'Waits for the writers of this instant; a watermark without it loses what takes its number early and commits late. '
    'Call it in a transaction of its own: what it promises is visible to the statements that begin after it.';

CREATE FUNCTION landing.ensure_months(moments timestamptz[]) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    month timestamp;
    made integer := 0;
BEGIN
    FOR month IN
        SELECT DISTINCT date_trunc('month', moment AT TIME ZONE 'UTC') FROM unnest(moments) AS moment ORDER BY 1
    LOOP
        IF to_regclass(format('landing.usage_events_%s', to_char(month, 'YYYY_MM'))) IS NULL THEN
            PERFORM pg_advisory_xact_lock(7002);
            EXECUTE format(
                'CREATE TABLE IF NOT EXISTS landing.usage_events_%s PARTITION OF landing.usage_events
                 FOR VALUES FROM (%L) TO (%L)',
                to_char(month, 'YYYY_MM'), month AT TIME ZONE 'UTC', (month + interval '1 month') AT TIME ZONE 'UTC'
            );
            made := made + 1;
        END IF;
    END LOOP;
    RETURN made;
END $$;
COMMENT ON FUNCTION landing.ensure_months(timestamptz[]) IS 'Makes the month partitions in which these moments lie; says how many.';
