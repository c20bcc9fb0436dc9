-- name: take_horizon
-- A moment before which everything recorded has been committed.
SELECT landing.take_horizon() AS horizon;

-- name: take_turn
-- Opening and closing of runs and the closing of periods take turns.
SELECT pg_advisory_xact_lock(7003);

-- name: supersede_open_runs
-- A run that never closed has failed; what it left queued is taken up by the one that opens now.
UPDATE billing.metering_runs SET closed_at = clock_timestamp(), superseded_at = clock_timestamp() WHERE closed_at IS NULL;

-- name: open_run
-- Opens a run over everything recorded since the one before.
WITH last AS (
    SELECT coalesce(max(recorded_until), '1970-01-01Z') AS recorded_until FROM billing.metering_runs
)
INSERT INTO billing.metering_runs (
    opened_by, recorded_after, recorded_until, occurred_from, occurred_until, events_arrived, buckets_queued)
SELECT
    %(opened_by)s, last.recorded_until, greatest(%(horizon)s::timestamptz, last.recorded_until),
    %(occurred_from)s::timestamptz, %(occurred_until)s::timestamptz,
    coalesce((
        SELECT sum(accepted) FROM landing.batches
        WHERE recorded_at > last.recorded_until AND recorded_at <= %(horizon)s::timestamptz), 0),
    0
FROM last
RETURNING run_id, recorded_after, recorded_until, occurred_from, occurred_until, events_arrived;

-- name: queue_arrivals
-- The quarter-hours that newly recorded events touch. The batches' bounds let months without arrivals be left out. Events are many,
-- and quarter-hours few: these meet their meters.
INSERT INTO billing.buckets_to_meter (team_id, meter_id, bucket_start, run_id)
SELECT arrivals.team_id, meters.meter_id, arrivals.bucket_start, %(run_id)s::bigint
FROM (
    SELECT DISTINCT events.team_id, events.event_name, date_bin('15 minutes', events.occurred_at, '2000-01-01Z') AS bucket_start
    FROM landing.usage_events AS events
    WHERE events.recorded_at > %(recorded_after)s AND events.recorded_at <= %(recorded_until)s
        AND events.occurred_at >= (
            SELECT min(first_occurred_at) FROM landing.batches
            WHERE recorded_at > %(recorded_after)s AND recorded_at <= %(recorded_until)s)
        AND events.occurred_at <= (
            SELECT max(last_occurred_at) FROM landing.batches
            WHERE recorded_at > %(recorded_after)s AND recorded_at <= %(recorded_until)s)
) AS arrivals
JOIN billing.meters AS meters ON meters.event_name = arrivals.event_name
ON CONFLICT (team_id, meter_id, bucket_start) DO UPDATE SET run_id = excluded.run_id;

-- name: queue_withdrawals
-- The quarter-hours that newly withdrawn events leave.
INSERT INTO billing.buckets_to_meter (team_id, meter_id, bucket_start, run_id)
SELECT DISTINCT
    events.team_id, meters.meter_id, date_bin('15 minutes', events.occurred_at, '2000-01-01Z'), %(run_id)s::bigint
FROM landing.event_withdrawals AS withdrawals
JOIN landing.usage_events AS events USING (team_id, occurred_at, key_digest)
JOIN billing.meters AS meters ON meters.event_name = events.event_name
WHERE withdrawals.recorded_at > %(recorded_after)s AND withdrawals.recorded_at <= %(recorded_until)s
ON CONFLICT (team_id, meter_id, bucket_start) DO UPDATE SET run_id = excluded.run_id;

-- name: queue_new_meters
-- A meter that is new counts the events that were there before it.
INSERT INTO billing.buckets_to_meter (team_id, meter_id, bucket_start, run_id)
SELECT DISTINCT
    events.team_id, meters.meter_id, date_bin('15 minutes', events.occurred_at, '2000-01-01Z'), %(run_id)s::bigint
FROM billing.meters AS meters
JOIN landing.usage_events AS events ON events.event_name = meters.event_name
WHERE meters.created_at > %(recorded_after)s AND meters.created_at <= %(recorded_until)s
    AND events.recorded_at <= %(recorded_after)s
ON CONFLICT (team_id, meter_id, bucket_start) DO UPDATE SET run_id = excluded.run_id;

-- name: note_archive_needs
-- A new meter counts the events of archived months once they have been restored.
INSERT INTO landing.archive_needs (month, meter_id)
SELECT months.month, meters.meter_id
FROM billing.meters AS meters
JOIN landing.archived_months AS months ON months.state <> 'restored' AND months.manifest -> 'events' ? meters.event_name
WHERE meters.created_at > %(recorded_after)s AND meters.created_at <= %(recorded_until)s
ON CONFLICT (month, meter_id) DO NOTHING;

-- name: queue_archive_needs
-- The month that a meter waited for has been restored.
INSERT INTO billing.buckets_to_meter (team_id, meter_id, bucket_start, run_id)
SELECT DISTINCT
    events.team_id, meters.meter_id, date_bin('15 minutes', events.occurred_at, '2000-01-01Z'), %(run_id)s::bigint
FROM landing.archive_needs AS needs
JOIN landing.archived_months AS months ON months.month = needs.month AND months.state = 'restored'
JOIN billing.meters AS meters USING (meter_id)
JOIN landing.usage_events AS events
    ON events.event_name = meters.event_name
    AND events.occurred_at >= months.starts_at AND events.occurred_at < months.ends_at
ON CONFLICT (team_id, meter_id, bucket_start) DO UPDATE SET run_id = excluded.run_id;

-- name: forget_archive_needs
-- What was needed of restored months is queued.
DELETE FROM landing.archive_needs AS needs
USING landing.archived_months AS months
WHERE months.month = needs.month AND months.state = 'restored';

-- name: archived_in_range
-- The archived months of a range of event time, which can't be computed again.
SELECT to_char(month, 'YYYY-MM') AS month FROM landing.archived_months
WHERE state <> 'restored' AND starts_at < %(occurred_until)s AND ends_at > %(occurred_from)s
ORDER BY month;

-- name: can_compare
-- Whether the models have been deployed.
SELECT to_regclass('intermediate.int_windows_differing') IS NOT NULL AS found;

-- name: compare_range
-- From here on the view is about the quarter-hours of the range, as of the run's horizon, and is joined as whole sets.
SELECT
    set_config('billing.as_of', %(recorded_until)s::timestamptz::text, true),
    set_config('billing.compared_from', date_bin('15 minutes', %(occurred_from)s::timestamptz, '2000-01-01Z')::text, true),
    set_config('billing.compared_until', date_bin(
        '15 minutes', %(occurred_until)s::timestamptz + interval '15 minutes' - interval '1 microsecond', '2000-01-01Z')::text, true),
    set_config('enable_nestloop', 'off', true), set_config('enable_sort', 'off', true),
    -- More memory than many questions at once could have: of runs there is one.
    set_config('work_mem', '256MB', true);

-- name: queue_differing
-- A backfill counts its range again from raw events, and makes again what differs: of quarter-hours, hours, days and months.
INSERT INTO billing.buckets_to_meter (team_id, meter_id, bucket_start, run_id)
SELECT DISTINCT team_id, meter_id, bucket_start, %(run_id)s::bigint
FROM intermediate.int_windows_differing
ON CONFLICT (team_id, meter_id, bucket_start) DO UPDATE SET run_id = excluded.run_id;

-- name: compare_no_more
-- What follows is about everything that is known, and planned as ever.
SELECT
    set_config('billing.as_of', '', true), set_config('billing.compared_from', '', true),
    set_config('billing.compared_until', '', true),
    set_config('enable_nestloop', 'on', true), set_config('enable_sort', 'on', true),
    set_config('work_mem', (SELECT reset_val || coalesce(unit, '') FROM pg_settings WHERE name = 'work_mem'), true);

-- name: queue_range
-- Before anything has been metered, every quarter-hour of the range.
INSERT INTO billing.buckets_to_meter (team_id, meter_id, bucket_start, run_id)
SELECT DISTINCT
    events.team_id, meters.meter_id, date_bin('15 minutes', events.occurred_at, '2000-01-01Z'), %(run_id)s::bigint
FROM landing.usage_events AS events
JOIN billing.meters AS meters ON meters.event_name = events.event_name
WHERE events.occurred_at >= date_bin('15 minutes', %(occurred_from)s::timestamptz, '2000-01-01Z')
    AND events.occurred_at < %(occurred_until)s::timestamptz
ON CONFLICT (team_id, meter_id, bucket_start) DO UPDATE SET run_id = excluded.run_id;

-- name: queue_periods_of_range
-- A backfill rates every period of its range again, whatever has changed.
INSERT INTO billing.periods_to_rate (team_id, subscription_key, period_start, run_id)
SELECT periods.team_id, periods.subscription_key, periods.period_start, %(run_id)s::bigint
FROM billing.billing_periods AS periods
WHERE periods.period_start < %(occurred_until)s::timestamptz AND periods.period_end > %(occurred_from)s::timestamptz
ON CONFLICT (team_id, subscription_key, period_start) DO UPDATE SET run_id = excluded.run_id, whole = true;

-- name: queue_periods_of_buckets
-- The billing periods in which queued quarter-hours lie.
INSERT INTO billing.periods_to_rate (team_id, subscription_key, period_start, run_id, whole)
SELECT DISTINCT periods.team_id, periods.subscription_key, periods.period_start, %(run_id)s::bigint, false
FROM billing.billing_periods AS periods
JOIN billing.buckets_to_meter AS buckets
    ON buckets.team_id = periods.team_id
    AND buckets.bucket_start >= periods.period_start AND buckets.bucket_start < periods.period_end
ON CONFLICT (team_id, subscription_key, period_start) DO UPDATE SET run_id = excluded.run_id;

-- name: queue_periods_of_levels
-- A level is carried from period to period: where it changed, every later period changes too.
INSERT INTO billing.periods_to_rate (team_id, subscription_key, period_start, run_id, whole)
SELECT periods.team_id, periods.subscription_key, periods.period_start, %(run_id)s::bigint, false
FROM billing.billing_periods AS periods
JOIN (
    SELECT team_id, min(bucket_start) AS changed_at
    FROM billing.buckets_to_meter JOIN billing.meters USING (meter_id)
    WHERE meters.aggregation = 'weighted_sum'
    GROUP BY team_id
) AS levels ON levels.team_id = periods.team_id AND levels.changed_at < periods.period_end
ON CONFLICT (team_id, subscription_key, period_start) DO UPDATE SET run_id = excluded.run_id;

-- name: queue_periods_of_changes
-- Periods that began, and those whose subscription, plan or prices were recorded since.
INSERT INTO billing.periods_to_rate (team_id, subscription_key, period_start, run_id)
SELECT periods.team_id, periods.subscription_key, periods.period_start, %(run_id)s::bigint
FROM billing.billing_periods AS periods
LEFT JOIN billing.subscriptions_changed(%(recorded_after)s, %(recorded_until)s) AS changed USING (team_id, subscription_key)
WHERE changed.team_id IS NOT NULL
    OR (periods.opened_at > %(recorded_after)s AND periods.opened_at <= %(recorded_until)s)
ON CONFLICT (team_id, subscription_key, period_start) DO UPDATE SET run_id = excluded.run_id, whole = true;

-- name: queue_open_periods_for_adjustments
-- What changes about a finalized period is billed as an adjustment on the first period that is still open.
INSERT INTO billing.periods_to_rate (team_id, subscription_key, period_start, run_id, whole)
SELECT DISTINCT open.team_id, open.subscription_key, open.period_start, %(run_id)s::bigint, false
FROM billing.periods_to_rate AS queued
JOIN billing.billing_periods AS touched USING (team_id, subscription_key, period_start)
JOIN billing.billing_periods AS open
    ON open.team_id = touched.team_id AND open.subscription_key = touched.subscription_key AND open.finalized_at IS NULL
WHERE touched.finalized_at IS NOT NULL
ON CONFLICT (team_id, subscription_key, period_start) DO UPDATE SET run_id = excluded.run_id;

-- name: queue_periods_for_credits
-- What a bill draws of its team's credits follows from all of its lines, and from what earlier bills have left: where anything of a
-- team with credits moves, all of its periods are rated together.
INSERT INTO billing.periods_to_rate (team_id, subscription_key, period_start, run_id, whole)
SELECT periods.team_id, periods.subscription_key, periods.period_start, %(run_id)s::bigint, false
FROM billing.billing_periods AS periods
WHERE EXISTS (SELECT FROM billing.credit_grants AS grants WHERE grants.team_id = periods.team_id)
    AND EXISTS (SELECT FROM billing.periods_to_rate AS queued WHERE queued.team_id = periods.team_id)
ON CONFLICT (team_id, subscription_key, period_start) DO UPDATE SET run_id = excluded.run_id;

-- name: count_queue
-- How much work the run found.
UPDATE billing.metering_runs
SET buckets_queued = (SELECT count(*) FROM billing.buckets_to_meter)
WHERE run_id = %(run_id)s;

-- name: has_new_months
-- Whether there are months with events that the planner has never heard of, as before a first run.
SELECT EXISTS (
    SELECT FROM pg_inherits AS months JOIN pg_class AS tables ON tables.oid = months.inhrelid
    WHERE months.inhparent = 'landing.usage_events'::regclass
        AND tables.reltuples < 0 AND pg_relation_size(tables.oid) > 0
) AS found;

-- name: analyze_events
-- Autovacuum would within minutes.
ANALYZE landing.usage_events, landing.batches;

-- name: analyze_buckets
-- The queue was just filled.
ANALYZE billing.buckets_to_meter;

-- name: analyze_periods
-- The queue was just filled.
ANALYZE billing.periods_to_rate;

-- name: clear_buckets
-- Later runs have marked what they queued again as theirs.
DELETE FROM billing.buckets_to_meter WHERE run_id <= %(run_id)s;

-- name: clear_periods
-- Later runs have marked what they queued again as theirs.
DELETE FROM billing.periods_to_rate WHERE run_id <= %(run_id)s;

-- name: close_run
-- Marks the run closed and tells about it.
UPDATE billing.metering_runs SET closed_at = coalesce(closed_at, clock_timestamp())
WHERE run_id = %(run_id)s
RETURNING run_id, events_arrived, buckets_queued, recorded_after, recorded_until, opened_at, closed_at;
