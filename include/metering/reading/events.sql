-- Statements of metering.reading.events.

-- name: page
-- Events of a team in a half-open range of event time, the newest first, from a place in that order on. A filter that is null
-- lets everything pass; a meter's filters are those of macros/usage_buckets.sql.
SELECT
    events.event_name AS event, trim_scale(events.quantity) AS quantity, events.unit, events.event_key AS idempotency_key,
    events.occurred_at AS time, events.subject, events.properties::text AS properties, events.recorded_at,
    withdrawals.recorded_at AS withdrawn_at, events.key_digest
FROM landing.usage_events AS events
LEFT JOIN landing.event_withdrawals AS withdrawals USING (team_id, occurred_at, key_digest)
WHERE events.team_id = %(team_id)s
    AND events.occurred_at >= %(occurred_from)s AND events.occurred_at < %(occurred_until)s
    AND events.occurred_at <= coalesce(%(after_time)s::timestamptz, 'infinity')  -- for the index on team and time
    AND (%(after_digest)s::uuid IS NULL
         OR (events.occurred_at, events.key_digest) < (%(after_time)s::timestamptz, %(after_digest)s::uuid))
    AND (%(key_digest)s::uuid IS NULL OR events.key_digest = %(key_digest)s)
    AND (%(event)s::text IS NULL OR events.event_name = %(event)s)
    AND (%(subject)s::text IS NULL OR events.subject = %(subject)s)
    AND (%(filters)s::jsonb IS NULL OR NOT EXISTS (
        SELECT FROM jsonb_each(%(filters)s::jsonb) AS filters (property, allowed)
        WHERE NOT coalesce(filters.allowed ? (events.properties ->> filters.property), false)))
ORDER BY events.occurred_at DESC, events.key_digest DESC
LIMIT %(size)s;

-- name: when_it_occurred
-- When the event of a key occurred, which leads to it.
SELECT occurred_at FROM landing.event_keys WHERE team_id = %(team_id)s AND key_digest = %(key_digest)s;

-- name: meter
-- Which events a meter takes.
SELECT event_name, filters FROM billing.meters WHERE meter_key = %(meter)s;
