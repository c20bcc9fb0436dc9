-- Lands events of public.to_land as one batch.
WITH chosen AS (
    SELECT * FROM public.to_land WHERE late = ANY (%(late)s) AND NOT EXISTS (
        SELECT FROM landing.event_keys WHERE event_keys.team_id = to_land.team_id
            AND event_keys.key_digest = to_land.key_digest)
),
recorded AS MATERIALIZED (SELECT landing.record_now() AS recorded_at),
batch AS (
    INSERT INTO landing.batches (recorded_at, source, accepted, duplicates, quarantined, first_occurred_at, last_occurred_at)
    SELECT recorded.recorded_at, 'test', count(*), 0, 0, min(chosen.occurred_at), max(chosen.occurred_at)
    FROM recorded LEFT JOIN chosen ON true GROUP BY recorded.recorded_at
    RETURNING batch_id, recorded_at
),
keys AS (
    INSERT INTO landing.event_keys (team_id, key_digest, content_digest, occurred_at)
    SELECT team_id, key_digest, key_digest, occurred_at FROM chosen
)
INSERT INTO landing.usage_events (
    team_id, occurred_at, key_digest, event_key, event_name, quantity, properties, batch_id, recorded_at)
SELECT chosen.team_id, chosen.occurred_at, chosen.key_digest, chosen.key_digest::text, chosen.event_name, chosen.quantity,
    chosen.properties, batch.batch_id, batch.recorded_at
FROM chosen CROSS JOIN batch;
