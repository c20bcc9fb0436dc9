-- Statements of metering.archive. Names in braces are put in as identifiers, never as text.

-- name: take_turn
-- One archiving or restoring at a time, until this session ends.
SELECT pg_try_advisory_lock(7011) AS taken;

-- name: leave
-- Another may begin.
SELECT pg_advisory_unlock(7011);

-- name: months
-- Every month that has a partition or was archived, with what is known of it; `why_not` is null where it may be archived now.
WITH partitions AS (
    SELECT to_date(right(children.relname, 7), 'YYYY_MM') AS month,
        -- An estimate: PostgreSQL's own, or where it has none yet, what is usual of so many bytes.
        CASE WHEN children.reltuples < 0 THEN pg_relation_size(children.oid) / 200 ELSE children.reltuples END::bigint AS rows,
        pg_total_relation_size(children.oid) AS bytes
    FROM pg_catalog.pg_inherits AS inherits
    JOIN pg_catalog.pg_class AS children ON children.oid = inherits.inhrelid
    WHERE inherits.inhparent = 'landing.usage_events'::regclass
),
bounds AS (
    SELECT partitions.*, month::timestamp AT TIME ZONE 'UTC' AS starts_at,
        (month + interval '1 month') AT TIME ZONE 'UTC' AS ends_at
    FROM partitions
)
SELECT
    to_char(bounds.month, 'YYYY-MM') AS month, bounds.starts_at, bounds.ends_at,
    coalesce(archived.state, 'in place') AS state,
    coalesce((archived.manifest ->> 'rows')::bigint, bounds.rows) AS rows,
    bounds.bytes, archived.folder, archived.manifest, archived.detached_at, archived.dropped_at, archived.restored_at,
    coalesce((SELECT array_agg(meters.meter_key ORDER BY meters.meter_key)
        FROM landing.archive_needs AS needs JOIN billing.meters AS meters USING (meter_id)
        WHERE needs.month = bounds.month), '{}') AS needed_by,
    CASE WHEN coalesce(archived.state, 'restored') = 'restored' THEN
        CASE
            WHEN bounds.ends_at + make_interval(months => %(older_than)s) > now() THEN 'it is not old enough'
            WHEN archived.restored_at > now() - %(restored_stays)s::interval THEN %(just_restored)s
            WHEN NOT EXISTS (
                SELECT FROM landing.usage_events
                WHERE occurred_at >= bounds.starts_at AND occurred_at < bounds.ends_at) THEN 'it has no events'
            ELSE landing.why_not_archivable(bounds.starts_at, bounds.ends_at)
        END
    ELSE 'it is archived' END AS why_not
FROM bounds
LEFT JOIN landing.archived_months AS archived USING (month)
ORDER BY bounds.month;

-- name: take_horizon
-- A moment before which everything recorded has been committed.
SELECT landing.take_horizon() AS horizon;

-- name: one_moment
-- What follows in this transaction sees one state of the database.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;

-- name: totals
-- What a table of events comes to, by event name. The checksum is the sum of the first 60 bits of the MD5 of each row as text, so
-- that it depends on every column of every row and not on their order.
SELECT event_name, count(*) AS rows, sum(quantity)::text AS quantity,
    sum(('x' || left(md5(events::text), 15))::bit(60)::bigint)::text AS checksum,
    min(occurred_at) AS first_occurred_at, max(occurred_at) AS last_occurred_at, max(recorded_at) AS last_recorded_at
FROM {table} AS events
WHERE recorded_at <= {horizon}
GROUP BY event_name
ORDER BY event_name COLLATE "C";

-- name: copy_out
-- The events in the order of their key; moments in microseconds since 1970.
COPY (
    SELECT team_id, (extract(epoch FROM occurred_at) * 1000000)::bigint, key_digest, event_key, event_name, quantity, unit,
        subject, properties, batch_id, (extract(epoch FROM recorded_at) * 1000000)::bigint
    FROM {table}
    WHERE recorded_at <= {horizon}
    ORDER BY team_id, occurred_at, key_digest
) TO STDOUT (FORMAT csv);

-- name: copy_in
-- Events from files.
COPY {table} (
    team_id, occurred_at, key_digest, event_key, event_name, quantity, unit, subject, properties, batch_id, recorded_at)
FROM STDIN (FORMAT csv);

-- name: make_copy
-- A place to read files back into, gone with the transaction.
CREATE TEMPORARY TABLE archive_copy (LIKE landing.usage_events) ON COMMIT DROP;

-- name: patience
-- How long this transaction waits for a lock, while everybody who comes after it waits for this one.
SET LOCAL lock_timeout = '2s';

-- name: detach
-- Take the month out; says why not, or null.
SELECT landing.detach_month(%(month)s, %(horizon)s, %(folder)s, %(manifest)s::jsonb) AS why_not;

-- name: drop
-- Drop what the files hold.
SELECT landing.drop_archived(%(month)s);

-- name: make
-- A table for the month's files.
SELECT landing.make_archived(%(month)s);

-- name: attach
-- Bring the month back.
SELECT landing.attach_month(%(month)s);

-- name: analyze
-- The planner knows nothing of rows that were just brought back.
ANALYZE {table};
