-- Statements of metering.ingestion.landing: the one way in which usage events come in.

-- name: ensure_months
-- Make the month partitions of these moments; in a transaction of its own, since it locks the table for an instant.
SELECT landing.ensure_months(%(moments)s::timestamptz[]);

-- name: standing_keys
-- Which of these keys have counted before, and with what. A statement of its own: it sees all that has been committed.
SELECT landing.standing_keys(%(teams)s::integer[], %(keys)s::uuid[]) AS standing;

-- name: open_batch
-- One row for this transaction. Its recorded time is taken before anything that carries it is written, so that no horizon
-- passes it before all of that has been committed.
INSERT INTO landing.batches (recorded_at, source, accepted, duplicates, quarantined, first_occurred_at, last_occurred_at)
VALUES (landing.record_now(), %(source)s, %(accepted)s, %(duplicates)s, %(quarantined)s, %(first)s, %(last)s)
RETURNING batch_id, recorded_at;

-- name: hold_tables
-- Take now the locks that writing will need: who waits for the tables, to archive a month, waits for this transaction from here on,
-- and this transaction never for them.
LOCK TABLE landing.usage_events, landing.event_keys IN ROW EXCLUSIVE MODE;

-- name: copy_keys
-- Claim keys that have not counted before, in one order for all writers, so that two may wait for each other but never both.
COPY landing.event_keys (team_id, key_digest, content_digest, occurred_at) FROM STDIN (FORMAT binary);

-- name: copy_events
-- The events whose keys were claimed.
COPY landing.usage_events
    (team_id, occurred_at, key_digest, batch_id, recorded_at, event_key, event_name, unit, quantity, subject, properties)
FROM STDIN (FORMAT binary);

-- name: land_few
-- All of a small transaction in one statement, of events whose keys have not counted before: its batch, which takes its
-- recorded time before anything else is written; the keys, in one order for all writers; the events.
WITH batch AS (
    INSERT INTO landing.batches (recorded_at, source, accepted, duplicates, quarantined, first_occurred_at, last_occurred_at)
    VALUES (landing.record_now(), %(source)s, %(accepted)s, 0, 0, %(first)s, %(last)s)
    RETURNING batch_id, recorded_at
),
given AS (
    SELECT *
    FROM batch
    CROSS JOIN unnest(
        %(teams)s::integer[], %(digests)s::uuid[], %(contents)s::uuid[], %(moments)s::timestamptz[], %(keys)s::text[],
        %(names)s::text[], %(units)s::text[], %(quantities)s::numeric[], %(subjects)s::text[], %(properties)s::jsonb[]
    ) AS given (
        team_id, key_digest, content_digest, occurred_at, event_key, event_name, unit, quantity, subject, properties)
),
claimed AS (
    INSERT INTO landing.event_keys (team_id, key_digest, content_digest, occurred_at)
    SELECT team_id, key_digest, content_digest, occurred_at FROM given ORDER BY team_id, key_digest
    RETURNING team_id
)
INSERT INTO landing.usage_events
    (team_id, occurred_at, key_digest, batch_id, recorded_at, event_key, event_name, unit, quantity, subject, properties)
SELECT team_id, occurred_at, key_digest, batch_id, recorded_at, event_key, event_name, unit, quantity, subject, properties
FROM given
-- All keys come first: one that has counted is that, whatever else would be said of its event.
WHERE (SELECT count(*) FROM claimed) > 0;

-- name: quarantine
-- Keep what could not be counted; what is held already is seen once more. In one order for all writers. What somebody
-- has discarded stays discarded; what was resent and is wrong again is held again.
INSERT INTO landing.quarantined_events AS held
    (team_id, quarantine_digest, reason, field, message, source, line, payload, first_recorded_at, last_recorded_at, times_seen)
SELECT team_id, quarantine_digest, reason, field, message, %(source)s, line, payload, %(recorded_at)s, %(recorded_at)s, times
FROM unnest(
    %(teams)s::int[], %(digests)s::uuid[], %(reasons)s::text[], %(fields)s::text[], %(messages)s::text[],
    %(lines)s::bigint[], %(payloads)s::text[], %(times)s::bigint[]
) AS given (team_id, quarantine_digest, reason, field, message, line, payload, times)
ORDER BY team_id, quarantine_digest
ON CONFLICT (team_id, quarantine_digest) DO UPDATE SET
    last_recorded_at = excluded.last_recorded_at,
    times_seen = held.times_seen + excluded.times_seen,
    status = CASE held.status WHEN 'discarded' THEN 'discarded' ELSE 'held' END;

-- name: prove_commit
-- Write something durable that leaves no row: fails where the server cannot write its log. A database that was made read-only lets
-- such a message through, and no events.
SELECT pg_logical_emit_message(true, 'billing.health', ''), current_setting('transaction_read_only')::boolean AS read_only;
