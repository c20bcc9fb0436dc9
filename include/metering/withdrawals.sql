-- Statements of metering.withdrawals: usage that was sent by mistake and shall no longer count.

-- name: team
-- The team whose events are withdrawn.
SELECT team_id FROM billing.teams WHERE team_key = %(team)s;

-- name: known_keys
-- Which of the keys have counted.
SELECT key_digest FROM landing.event_keys
WHERE team_id = %(team_id)s AND key_digest = ANY (%(digests)s::uuid[]);

-- name: preview
-- What would no longer count, by event and month (UTC): how many, how much, and how many are withdrawn already.
WITH chosen AS (
    SELECT events.event_name, events.quantity, date_trunc('month', events.occurred_at, 'UTC') AS month,
           withdrawals.team_id IS NOT NULL AS already
    FROM landing.usage_events AS events
    LEFT JOIN landing.event_withdrawals AS withdrawals USING (team_id, occurred_at, key_digest)
    WHERE events.team_id = %(team_id)s
        AND (%(digests)s::uuid[] IS NULL OR (events.occurred_at, events.key_digest) IN (
            SELECT occurred_at, key_digest FROM landing.event_keys
            WHERE team_id = %(team_id)s AND key_digest = ANY (%(digests)s::uuid[])))
        AND (%(event)s::text IS NULL OR events.event_name = %(event)s)
        AND (%(occurred_from)s::timestamptz IS NULL OR events.occurred_at >= %(occurred_from)s)
        AND (%(occurred_until)s::timestamptz IS NULL OR events.occurred_at < %(occurred_until)s)
)
SELECT event_name, to_char(month AT TIME ZONE 'UTC', 'YYYY-MM') AS month,
       count(*) FILTER (WHERE NOT already) AS events,
       trim_scale(coalesce(sum(quantity) FILTER (WHERE NOT already), 0)) AS quantity,
       count(*) FILTER (WHERE already) AS already
FROM chosen
GROUP BY event_name, month
ORDER BY event_name, month;

-- name: withdraw
-- From the recorded moment on they no longer count. What is withdrawn already keeps its moment and reason.
INSERT INTO landing.event_withdrawals (team_id, key_digest, occurred_at, recorded_at, reason)
SELECT events.team_id, events.key_digest, events.occurred_at, %(recorded_at)s, %(reason)s
FROM landing.usage_events AS events
WHERE events.team_id = %(team_id)s
    AND (%(digests)s::uuid[] IS NULL OR (events.occurred_at, events.key_digest) IN (
        SELECT occurred_at, key_digest FROM landing.event_keys
        WHERE team_id = %(team_id)s AND key_digest = ANY (%(digests)s::uuid[])))
    AND (%(event)s::text IS NULL OR events.event_name = %(event)s)
    AND (%(occurred_from)s::timestamptz IS NULL OR events.occurred_at >= %(occurred_from)s)
    AND (%(occurred_until)s::timestamptz IS NULL OR events.occurred_at < %(occurred_until)s)
ON CONFLICT DO NOTHING;

-- name: record_now
-- The recorded moment of this transaction.
SELECT landing.record_now() AS recorded_at;
