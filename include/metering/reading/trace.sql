-- Statements of metering.reading.trace: what became of one event, step by step. Each is bounded by the event's team and time.

-- name: one_snapshot
-- All steps are read from one state of the database; none of them writes.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;

-- name: event
-- The event and its batch. The event itself is missing where its month has been archived; its key stays.
SELECT
    keys.occurred_at, keys.key_digest, events.event_name, trim_scale(events.quantity) AS quantity, events.unit,
    events.subject, events.properties::text AS properties, events.recorded_at,
    -- What came over HTTP long ago has no batch of its own any more: see metering.batches.
    CASE WHEN events.batch_id IS NOT NULL THEN coalesce(batches.source, 'http') END AS source,
    withdrawals.recorded_at AS withdrawn_at, withdrawals.reason AS withdrawn_because
FROM landing.event_keys AS keys
LEFT JOIN landing.usage_events AS events USING (team_id, occurred_at, key_digest)
LEFT JOIN landing.batches AS batches USING (batch_id)
LEFT JOIN landing.event_withdrawals AS withdrawals USING (team_id, occurred_at, key_digest)
WHERE keys.team_id = %(team_id)s AND keys.key_digest = %(key_digest)s;

-- name: buckets
-- The quarter-hour of each meter that counts the event: what the event gives, what stands there, since which run, and whether
-- that holds the event yet.
SELECT
    metered.meter_id, metered.meter_key, metered.unit, metered.bucket_start, metered.dimensions,
    trim_scale(metered.metered_value) AS value,
    trim_scale(buckets.quantity) AS quantity, buckets.event_count, buckets.recorded_from AS metered_at, runs.opened_by AS run,
    runs.closed_at AS rated_at,
    (buckets.team_id IS NOT NULL
     AND metered.recorded_at <= (SELECT max(recorded_until) FROM billing.metering_runs)
     AND NOT EXISTS (
         SELECT FROM billing.buckets_to_meter AS queue
         WHERE queue.team_id = metered.team_id AND queue.meter_id = metered.meter_id
             AND queue.bucket_start = metered.bucket_start)) AS is_metered
FROM intermediate.int_events_metered AS metered
LEFT JOIN intermediate.int_usage_buckets AS buckets
    ON buckets.team_id = metered.team_id AND buckets.meter_id = metered.meter_id
    AND buckets.bucket_start = metered.bucket_start AND buckets.dimensions = metered.dimensions
    AND buckets.recorded_to = 'infinity'
LEFT JOIN LATERAL (
    SELECT opened_by, closed_at FROM billing.metering_runs
    WHERE recorded_until = buckets.recorded_from ORDER BY run_id LIMIT 1
) AS runs ON true
WHERE metered.team_id = %(team_id)s AND metered.occurred_at = %(occurred_at)s AND metered.key_digest = %(key_digest)s
ORDER BY metered.meter_key;

-- name: usage
-- The local hour, day and month in which the quarter-hour lies.
SELECT 'hour' AS window, hours.hour_start AS window_start, trim_scale(hours.quantity) AS quantity, hours.event_count AS events
FROM marts.fct_usage_hourly AS hours
WHERE hours.team_id = %(team_id)s AND hours.meter_id = %(meter_id)s AND hours.dimensions = %(dimensions)s
    AND hours.hour_start = billing.local_start('hour', %(bucket_start)s::timestamptz, %(time_zone)s)
UNION ALL
SELECT 'day', days.day_start, trim_scale(days.quantity), days.event_count
FROM marts.fct_usage_daily AS days
WHERE days.team_id = %(team_id)s AND days.meter_id = %(meter_id)s AND days.dimensions = %(dimensions)s
    AND days.day_start = billing.local_start('day', %(bucket_start)s::timestamptz, %(time_zone)s)
UNION ALL
SELECT 'month', months.month_start, trim_scale(months.quantity), months.event_count
FROM marts.fct_usage_monthly AS months
WHERE months.team_id = %(team_id)s AND months.meter_id = %(meter_id)s AND months.dimensions = %(dimensions)s
    AND months.month_start = billing.local_start('month', %(bucket_start)s::timestamptz, %(time_zone)s);

-- name: time_zone
-- The team's own zone; from here on the views are about this team alone.
SELECT time_zone, set_config('billing.asked_team', team_id::text, true) AS asked_team FROM billing.teams WHERE team_id = %(team_id)s;

-- name: priced
-- The line that the quarter-hour's slice is priced by, in each subscription's period: the price of the interval in which it
-- lies, as rating has chosen it. No line key: no price is for these dimensions.
SELECT DISTINCT ON (priced.subscription_key)
    priced.subscription_key, periods.period_label, periods.period_start, periods.period_end,
    segments.line_key, segments.price_key, segments.charge_unit
FROM intermediate.int_usage_priced AS priced
JOIN intermediate.int_billing_periods AS periods USING (team_id, subscription_key, period_start)
LEFT JOIN intermediate.int_segments_rated AS segments
    ON segments.team_id = priced.team_id
    AND segments.subscription_key = priced.subscription_key
    AND segments.period_start = priced.period_start
    AND segments.price_version_id = priced.price_version_id
    AND segments.segment_from = priced.segment_from
WHERE priced.team_id = %(team_id)s AND priced.meter_id = %(meter_id)s AND priced.dimensions = %(dimensions)s
    AND priced.interval_from <= %(bucket_start)s
    AND periods.period_start <= %(bucket_start)s AND periods.period_end > %(bucket_start)s
ORDER BY priced.subscription_key, priced.interval_from DESC;

-- name: tiers
-- What the line's tiers hold; the event is one of all that fill them.
SELECT
    tier, trim_scale(over) AS over, trim_scale(up_to) AS up_to, trim_scale(tier_quantity) AS quantity,
    trim_scale(unit_amount) AS unit_amount, trim_scale(usage_amount) AS usage_amount,
    trim_scale(fixed_amount) AS fixed_amount
FROM marts.fct_rated_usage
WHERE team_id = %(team_id)s AND subscription_key = %(subscription_key)s AND period_start = %(period_start)s
    AND line_key = %(line_key)s
ORDER BY tier;

-- name: bill_lines
-- The line on the bill of its period, and adjustments about it on later bills.
SELECT
    lines.period_label AS on_bill, bills.status, kept.finalized_at AS final_at, lines.kind, lines.line_key AS line, trim_scale(lines.quantity) AS quantity,
    round(lines.amount, currencies.exponent) AS amount, lines.currency, bills.total AS bill_total
FROM marts.fct_bill_lines AS lines
JOIN marts.fct_bills AS bills USING (team_id, subscription_key, period_start)
LEFT JOIN billing.finalized_bills AS kept USING (team_id, subscription_key, period_start)
JOIN billing.currencies AS currencies ON currencies.currency = lines.currency
WHERE lines.team_id = %(team_id)s AND lines.subscription_key = %(subscription_key)s
    AND lines.about_period_start = %(period_start)s
    AND lines.line_key IN (%(line_key)s, 'adjustment ' || %(period_label)s || ' ' || %(line_key)s)
ORDER BY lines.period_start;

-- name: submissions
-- The window in which Stripe gets the quarter-hour, and each submission of it.
SELECT
    windows.window_start, windows.window_end, trim_scale(windows.target_quantity) AS target, targets.recorded_at AS target_at,
    trim_scale(coalesce(usage.quantity, 0)) AS due, trim_scale(windows.ledger_quantity) AS accepted, trim_scale(windows.open_quantity) AS on_its_way,
    windows.held_code, windows.held_reason,
    submissions.sequence, submissions.identifier, trim_scale(submissions.quantity) AS quantity, submissions.state,
    submissions.created_at, submissions.accepted_at, submissions.confirmed_at, submissions.error_message
FROM billing.stripe_window_states AS windows
LEFT JOIN billing.stripe_submissions AS submissions USING (team_id, meter_id, window_start, window_end, dimensions)
LEFT JOIN marts.fct_stripe_usage AS usage USING (team_id, meter_id, window_start, window_end, dimensions)
LEFT JOIN LATERAL (
    SELECT max(target.recorded_at) AS recorded_at FROM billing.stripe_targets AS target
    WHERE (target.team_id, target.meter_id, target.window_start, target.window_end, target.dimensions)
        = (windows.team_id, windows.meter_id, windows.window_start, windows.window_end, windows.dimensions)
) AS targets ON true
WHERE windows.team_id = %(team_id)s AND windows.meter_id = %(meter_id)s
    AND windows.window_start <= %(bucket_start)s AND windows.window_end > %(bucket_start)s
ORDER BY windows.window_start, submissions.sequence;
