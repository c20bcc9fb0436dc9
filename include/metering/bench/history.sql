-- Statements of metering.bench.history: what metering leaves of events that were landed as history, made as whole sets.

-- name: begin
-- Where twelve whole months before the one that runs begin.
SELECT date_trunc('month', %(until)s::timestamptz, 'UTC') - interval '12 months' AS since;

-- name: months
-- The calendar months of a half-open range of time, each cut at its ends.
SELECT greatest(month, %(since)s::timestamptz) AS since, least(month + interval '1 month', %(until)s::timestamptz) AS until
FROM generate_series(
    date_trunc('month', %(since)s::timestamptz, 'UTC'), %(until)s::timestamptz - interval '1 microsecond', interval '1 month'
) AS month
ORDER BY month;

-- name: open_run
-- A run over all that has landed, without a queue of its quarter-hours: who fills them needs none.
INSERT INTO billing.metering_runs (opened_by, recorded_after, recorded_until, events_arrived, buckets_queued)
SELECT 'bench', coalesce(max(recorded_until), '1970-01-01Z'), %(horizon)s, %(events)s, 0 FROM billing.metering_runs
RETURNING run_id, recorded_until;

-- name: fill_quarter_hours
-- Quarter-hours, which of meters that add up and tell nothing apart are what a plain query makes of events,
INSERT INTO intermediate.int_usage_buckets (
    team_id, meter_id, bucket_start, dimensions, member, event_count, quantity, recorded_from, recorded_to)
SELECT
    events.team_id, meters.meter_id, date_bin('15 minutes', events.occurred_at, '2000-01-01Z'), '{}', '', count(*),
    sum(events.quantity), %(recorded_until)s, 'infinity'
FROM landing.usage_events AS events
JOIN billing.meters AS meters ON meters.event_name = events.event_name AND meters.aggregation = 'sum'
WHERE events.occurred_at >= %(since)s AND events.occurred_at < %(until)s AND events.recorded_at <= %(recorded_until)s
GROUP BY 1, 2, 3
ORDER BY 1, 2, 3;

-- name: fill_hours
-- hours,
INSERT INTO marts.fct_usage_hourly (team_id, meter_id, hour_start, local_hour, dimensions, quantity, event_count)
SELECT
    team_id, meter_id, date_bin('1 hour', bucket_start, '2000-01-01Z'),
    date_trunc('hour', bucket_start AT TIME ZONE 'UTC'), dimensions, sum(quantity), sum(event_count)
FROM intermediate.int_usage_buckets
WHERE recorded_to = 'infinity' AND bucket_start >= %(since)s AND bucket_start < %(until)s
GROUP BY 1, 2, 3, 4, 5
ORDER BY 1, 2, 3
ON CONFLICT (team_id, meter_id, hour_start, dimensions) DO UPDATE
SET quantity = excluded.quantity, event_count = excluded.event_count;

-- name: fill_days
-- days,
INSERT INTO marts.fct_usage_daily (team_id, meter_id, day_start, local_day, dimensions, quantity, event_count)
SELECT
    team_id, meter_id, date_bin('24 hours', hour_start, '2000-01-01Z'), date_trunc('day', local_hour), dimensions,
    sum(quantity), sum(event_count)
FROM marts.fct_usage_hourly
WHERE hour_start >= date_trunc('day', %(since)s::timestamptz, 'UTC')
    AND hour_start < date_trunc('day', %(until)s::timestamptz - interval '1 microsecond', 'UTC') + interval '1 day'
GROUP BY 1, 2, 3, 4, 5
ORDER BY 1, 2, 3
ON CONFLICT (team_id, meter_id, day_start, dimensions) DO UPDATE
SET quantity = excluded.quantity, event_count = excluded.event_count;

-- name: fill_months
-- and months. All teams of a bench are in UTC.
INSERT INTO marts.fct_usage_monthly (team_id, meter_id, month_start, local_month, dimensions, quantity, event_count)
SELECT
    team_id, meter_id, date_trunc('month', day_start, 'UTC'), date_trunc('month', local_day), dimensions, sum(quantity),
    sum(event_count)
FROM marts.fct_usage_daily
WHERE day_start >= date_trunc('month', %(since)s::timestamptz, 'UTC')
    AND day_start < date_trunc('month', %(until)s::timestamptz - interval '1 microsecond', 'UTC') + interval '1 month'
GROUP BY 1, 2, 3, 4, 5
ORDER BY 1, 2, 3
ON CONFLICT (team_id, meter_id, month_start, dimensions) DO UPDATE
SET quantity = excluded.quantity, event_count = excluded.event_count;

-- name: queue_periods
-- Every bill of the range is to be made.
INSERT INTO billing.periods_to_rate (team_id, subscription_key, period_start, run_id)
SELECT team_id, subscription_key, period_start, %(run_id)s FROM billing.billing_periods
WHERE period_start < %(until)s AND period_end > %(since)s
ON CONFLICT DO NOTHING;

-- name: analyze_queue
-- The queue was just filled.
ANALYZE billing.periods_to_rate;

-- name: vacuum_usage
-- As autovacuum leaves it.
VACUUM ANALYZE landing.usage_events, intermediate.int_usage_buckets, marts.fct_usage_hourly, marts.fct_usage_daily, marts.fct_usage_monthly;

-- name: vacuum_bills
-- As autovacuum leaves it.
VACUUM ANALYZE marts.fct_rated_usage, marts.fct_bill_lines, marts.fct_stripe_usage;

-- name: settle
-- What has been made is written before anything is measured.
CHECKPOINT;

-- name: compare
-- From here on the view is about the quarter-hours of a range, counted again from raw events, and is joined as whole sets.
SELECT
    set_config('billing.compared_from', %(since)s::timestamptz::text, true),
    set_config('billing.compared_until', %(until)s::timestamptz::text, true),
    set_config('enable_nestloop', 'off', true), set_config('enable_sort', 'off', true);

-- name: differing
-- Windows of the range that are not what metering would make of its events.
SELECT count(*) AS windows FROM intermediate.int_windows_differing;
