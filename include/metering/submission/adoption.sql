-- name: pairs
-- Each customer and meter at Stripe of which usage could have been sent.
SELECT team_id, meter_id, team_key, meter_key, stripe_customer_id, stripe_meter_id
FROM billing.stripe_customers
JOIN billing.teams USING (team_id)
CROSS JOIN billing.stripe_meters
JOIN billing.meters USING (meter_id)
ORDER BY team_id, meter_id;

-- name: windows
-- The windows of a span of time, of all teams and meters, with what the ledger has in each and whether something is open there:
-- those that are known, and for each UTC day those that it is cut into by the team's billing periods.
WITH days AS (
    SELECT day, day + interval '1 day' AS next_day
    FROM generate_series(%(begin)s::timestamptz, %(end)s::timestamptz - interval '1 day', interval '1 day') AS day
), edges AS (
    SELECT team_id, day, next_day, day AS edge FROM days CROSS JOIN billing.stripe_customers
    UNION
    SELECT team_id, day, next_day, edge
    FROM days
    JOIN billing.billing_periods AS period ON period.period_start < next_day AND period.period_end > day
    CROSS JOIN LATERAL (VALUES (period.period_start), (period.period_end)) AS cut (edge)
    WHERE edge > day AND edge < next_day
), pieces AS (
    SELECT team_id, edge AS window_start,
        lead(edge, 1, next_day) OVER (PARTITION BY team_id, day ORDER BY edge) AS window_end
    FROM edges
), possible AS (
    SELECT team_id, meter_id, '{}'::jsonb AS dimensions, window_start, window_end,
        date_trunc('second', window_start + (window_end - window_start) / 2) AS event_at
    FROM pieces
    CROSS JOIN billing.stripe_meters
), known AS (
    SELECT team_id, meter_id, dimensions, window_start, window_end, event_at, ledger_quantity, is_open, last_sequence
    FROM billing.stripe_window_states
    WHERE event_at >= %(begin)s AND event_at < %(end)s OR is_open
)
SELECT *, true AS is_known FROM known
UNION ALL
SELECT *, 0, false, 0, false
FROM possible
WHERE NOT EXISTS (
    SELECT FROM known
    WHERE known.team_id = possible.team_id AND known.meter_id = possible.meter_id AND known.event_at = possible.event_at)
ORDER BY team_id, meter_id, event_at;

-- name: cancel_open
-- Whether what is open had arrived stands in what was read: none of it is sent any more.
UPDATE billing.stripe_submissions
SET state = 'cancelled', lease_owner = NULL, lease_until = NULL,
    error_message = 'The database was restored from a backup: what arrived was adopted from Stripe''s total.'
WHERE state IN ('pending', 'in_flight', 'uncertain');

-- name: add_windows
-- Windows that this database did not know, and Stripe has usage of.
INSERT INTO billing.stripe_windows (team_id, meter_id, dimensions, window_start, window_end, event_at)
SELECT * FROM unnest(%(team_id)s::integer[], %(meter_id)s::integer[], %(dimensions)s::jsonb[], %(window_start)s::timestamptz[],
    %(window_end)s::timestamptz[], %(event_at)s::timestamptz[])
ON CONFLICT DO NOTHING;

-- name: add_adopted
-- The difference that Stripe has beyond the ledger becomes part of it. It was not sent by this database, so it has no payload.
INSERT INTO billing.stripe_submissions
    (team_id, meter_id, dimensions, window_start, window_end, sequence, quantity, payload, identifier, state, confirmed_at,
     accepted_at, adopted_at)
SELECT team_id, meter_id, dimensions, window_start, window_end, sequence, quantity, '{}',
    'mb1-adopted-' || left(encode(sha256(convert_to(concat_ws('|', team_id, meter_id, extract(epoch FROM window_start)::bigint,
        extract(epoch FROM window_end)::bigint, dimensions::text), 'UTF8')), 'hex'), 32) || '-e' || %(epoch)s,
    'confirmed', clock_timestamp(), %(now)s, clock_timestamp()
FROM unnest(%(team_id)s::integer[], %(meter_id)s::integer[], %(dimensions)s::jsonb[], %(window_start)s::timestamptz[],
    %(window_end)s::timestamptz[], %(sequence)s::integer[], %(quantity)s::numeric[])
    AS adopted (team_id, meter_id, dimensions, window_start, window_end, sequence, quantity);

-- name: begin_epoch
-- The ledger goes on from here under a mark that was never used.
UPDATE billing.stripe_ledger SET mark = %(mark)s, epoch = %(mark)s, marked_at = %(now)s, behind_since = NULL;
