-- Statements of metering.ingestion.landing: the one way in which usage events come in.

-- name: ensure_months
-- Make the month partitions of these moments; in a transaction of its own, since it locks the table for an instant.
SELECT landing.ensure_months(%(moments)s::timestamptz[]);

-- name: record_now
-- The recorded time of this transaction; taken first, so that no horizon passes it before it has been committed.
SELECT landing.record_now() AS recorded_at;

-- name: claim_keys
-- Claim keys in one order for all writers, so that two can wait for each other but never both; return the places (from 1)
-- of those that had been claimed before. Each (team, key) is given once.
WITH given AS MATERIALIZED (
    SELECT team_id, key_digest, content_digest, occurred_at, place
    FROM unnest(%(teams)s::int[], %(keys)s::uuid[], %(contents)s::uuid[], %(moments)s::timestamptz[])
        WITH ORDINALITY AS given (team_id, key_digest, content_digest, occurred_at, place)
),
claimed AS (
    INSERT INTO landing.event_keys (team_id, key_digest, content_digest, occurred_at)
    SELECT team_id, key_digest, content_digest, occurred_at FROM given ORDER BY team_id, key_digest
    ON CONFLICT DO NOTHING
    RETURNING team_id, key_digest
)
SELECT place FROM given
WHERE NOT EXISTS (
    SELECT FROM claimed WHERE claimed.team_id = given.team_id AND claimed.key_digest = given.key_digest
);

-- name: standing_contents
-- What the keys that had been claimed before stand for. A statement of its own: it sees what the claim waited for.
SELECT given.place, event_keys.content_digest
FROM unnest(%(teams)s::int[], %(keys)s::uuid[]) WITH ORDINALITY AS given (team_id, key_digest, place)
JOIN landing.event_keys USING (team_id, key_digest);

-- name: record_batch
-- One row for this transaction.
INSERT INTO landing.batches (recorded_at, source, accepted, duplicates, quarantined, first_occurred_at, last_occurred_at)
VALUES (%(recorded_at)s, %(source)s, %(accepted)s, %(duplicates)s, %(quarantined)s, %(first)s, %(last)s)
RETURNING batch_id;

-- name: copy_events
-- The events whose keys were claimed.
COPY landing.usage_events
    (team_id, occurred_at, key_digest, event_key, event_name, quantity, unit, subject, properties, batch_id, recorded_at)
FROM STDIN;

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
-- Write something durable that leaves no row: fails where the server is read-only or cannot write its log.
SELECT pg_logical_emit_message(true, 'billing.health', '');
