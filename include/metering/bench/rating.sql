-- Statements of metering.bench.rating: a catalog, events and quarter-hours to rate, and the plain query to compare with.

-- name: make_teams
-- So many teams, in UTC.
INSERT INTO billing.teams (team_key, team_name, time_zone)
SELECT 'rate-' || number, 'Rate ' || number, 'UTC' FROM generate_series(1, %(teams)s) AS number;

-- name: make_meters
-- So many meters, each of events of its own name.
INSERT INTO billing.meters (meter_key, meter_name, event_name, aggregation, unit)
SELECT 'rate_' || number, 'Rate ' || number, 'rate_call_' || number, 'sum', 'call' FROM generate_series(1, %(meters)s) AS number;

-- name: make_prices
-- One plan that prices each meter in three tiers.
WITH plan AS (
    INSERT INTO billing.plans (plan_key, plan_name) VALUES ('rate', 'Rate') RETURNING plan_id
),
prices AS (
    INSERT INTO billing.prices (price_key, price_name, plan_id, meter_id, currency)
    SELECT 'rate/' || meter_key, meter_name, plan.plan_id, meter_id, 'USD'
    FROM billing.meters CROSS JOIN plan WHERE meter_key LIKE 'rate\_%%'
    RETURNING price_id
),
versions AS (
    INSERT INTO billing.price_versions (price_id, effective_from, model, charge_unit)
    SELECT price_id, '2020-01-01Z', 'graduated', 'call' FROM prices
    RETURNING price_version_id
)
INSERT INTO billing.price_tiers (price_version_id, tier, over, up_to, unit_amount)
SELECT price_version_id, tier, over, up_to, unit_amount
FROM versions
CROSS JOIN (VALUES (1, 0, 10000, 0), (2, 10000, 100000, 0.001), (3, 100000, NULL, 0.0008)) AS tiers (tier, over, up_to, unit_amount);

-- name: subscribe
-- Every team is on the plan since twelve months before this one.
INSERT INTO billing.subscriptions (team_id, currency, time_zone, starts_at)
SELECT team_id, 'USD', 'UTC', date_trunc('month', now(), 'UTC') - interval '12 months' FROM billing.teams WHERE team_key LIKE 'rate-%%';

-- name: put_on_plan
-- Since it began.
INSERT INTO billing.subscription_plans (team_id, effective_from, plan_id)
SELECT team_id, starts_at, plan_id FROM billing.subscriptions CROSS JOIN billing.plans WHERE plan_key = 'rate';

-- name: ensure_months
-- The partitions of the months that events lie in.
SELECT landing.ensure_months(ARRAY(
    SELECT date_trunc('month', moment, 'UTC') FROM generate_series(
        %(until)s::timestamptz - interval '366 days', %(until)s::timestamptz, interval '1 day') AS moment));

-- name: land
-- So many events, as landing leaves them: `late` of a million lie anywhere in the 30 days before `until`, the others in the
-- `width` before it; with `daily`, of each day of it within so long a time, another one for each meter of a team. Keys are not
-- claimed, since metering does not read them.
WITH recorded AS MATERIALIZED (SELECT landing.record_now() AS recorded_at),
batch AS (
    INSERT INTO landing.batches (recorded_at, source, accepted, duplicates, quarantined, first_occurred_at, last_occurred_at)
    SELECT recorded_at, 'bench', %(events)s, 0, 0,
        %(until)s::timestamptz - greatest(%(width)s::interval, CASE WHEN %(late)s > 0 THEN interval '30 days' END),
        %(until)s::timestamptz
    FROM recorded
    RETURNING batch_id, recorded_at
),
numbers AS (
    SELECT number, hashint8extended(number, %(seed)s) AS who, hashint8extended(number, -%(seed)s) AS moment
    FROM generate_series(1, %(events)s) AS number
),
facts AS (
    SELECT
        'bench-' || %(seed)s || '-' || number AS event_key,
        (who & 1048575) %% %(teams)s AS team, ((who >> 20) & 1048575) %% %(meters)s AS meter, 1 + ((who >> 40) & 4095) AS quantity,
        (moment & 1048575) / 1048576::float8 AS share, ((moment >> 20) & 1048575) / 1048576::float8 AS share_of_daily,
        (moment >> 40) & 1048575 < %(late)s * 1.048576 AS is_late,
        extract(epoch FROM %(daily)s::interval)::integer AS daily, extract(epoch FROM %(width)s::interval) / 86400 AS days
    FROM numbers
)
INSERT INTO landing.usage_events (
    team_id, occurred_at, key_digest, event_key, event_name, quantity, properties, batch_id, recorded_at)
SELECT
    teams.first_team + facts.team,
    %(until)s::timestamptz - interval '1 microsecond' - CASE
        WHEN facts.is_late THEN facts.share * interval '30 days'
        WHEN facts.daily IS NULL THEN facts.share * %(width)s::interval
        ELSE floor(facts.share * facts.days) * interval '24 hours'
            + ((facts.team * 7 + facts.meter * 13) %% (86400 / facts.daily) + facts.share_of_daily) * %(daily)s::interval
    END,
    md5(facts.event_key)::uuid, facts.event_key, 'rate_call_' || (1 + facts.meter), facts.quantity, '{}', batch.batch_id, batch.recorded_at
FROM facts
CROSS JOIN batch
CROSS JOIN (SELECT min(team_id) AS first_team FROM billing.teams WHERE team_key LIKE 'rate-%%') AS teams;

-- name: analyze_catalog
-- What is made at once is new to the planner, too.
ANALYZE billing.teams, billing.meters, billing.plans, billing.prices, billing.price_versions, billing.price_tiers,
    billing.subscriptions, billing.subscription_plans, billing.billing_periods, billing.periods_to_rate;

-- name: analyze_events
-- What has been landed at once is new to the planner; autovacuum would tell it within minutes.
ANALYZE landing.usage_events;

-- name: keep_increment
-- The rows of the last increment by themselves.
CREATE UNLOGGED TABLE bench_increment AS
SELECT events.* FROM landing.usage_events AS events
WHERE events.recorded_at = (SELECT max(recorded_at) FROM landing.batches);

-- name: plain
-- What a plain query over the same rows gives: usage by team, event and hour.
SELECT count(*) AS groups, sum(events) AS events FROM (
    SELECT team_id, event_name, date_trunc('hour', occurred_at) AS hour, count(*) AS events, sum(quantity) AS quantity
    FROM bench_increment
    GROUP BY team_id, event_name, date_trunc('hour', occurred_at)
) AS grouped;

-- name: plain_of_range
-- The same over the raw events of a range of event time, by quarter-hour.
SELECT count(*) AS groups, coalesce(sum(events), 0)::bigint AS events, count(DISTINCT team_id) AS teams FROM (
    SELECT
        team_id, event_name, date_bin('15 minutes', occurred_at, '2000-01-01Z') AS quarter_hour, count(*) AS events,
        sum(quantity) AS quantity
    FROM landing.usage_events
    WHERE occurred_at >= %(occurred_from)s AND occurred_at < %(occurred_until)s
    GROUP BY team_id, event_name, date_bin('15 minutes', occurred_at, '2000-01-01Z')
) AS grouped;

-- name: forget_increment
-- For the next one.
DROP TABLE IF EXISTS bench_increment;

-- name: landed
-- All events, and what they add up to.
SELECT count(*) AS events, coalesce(sum(quantity), 0) AS quantity FROM landing.usage_events;

-- name: metered
-- The same by the quarter-hours that stand.
SELECT coalesce(sum(event_count), 0)::bigint AS events, coalesce(sum(quantity), 0) AS quantity
FROM intermediate.int_usage_buckets WHERE recorded_to = 'infinity';

-- name: fill_quarter_hours
-- Aggregates of the month that ended last: of each team and meter a quarter-hour every third day.
INSERT INTO intermediate.int_usage_buckets (
    team_id, meter_id, bucket_start, dimensions, member, event_count, quantity, recorded_from, recorded_to)
SELECT teams.team_id, meters.meter_id, moment, '{}', '', 100, 1000 + (teams.team_id * 31 + meters.meter_id) %% 20000,
    now(), 'infinity'
FROM billing.teams AS teams
CROSS JOIN billing.meters AS meters
CROSS JOIN generate_series(
    date_trunc('month', now(), 'UTC') - interval '1 month', date_trunc('month', now(), 'UTC') - interval '1 hour', interval '3 days'
) AS moment
WHERE teams.team_key LIKE 'rate-%%' AND meters.meter_key LIKE 'rate\_%%';

-- name: last_month
-- The month that ended last.
SELECT date_trunc('month', now(), 'UTC') - interval '1 month' AS since, date_trunc('month', now(), 'UTC') AS until;

-- name: queue_last_month
-- Every bill of the month that ended last is to be made.
INSERT INTO billing.periods_to_rate (team_id, subscription_key, period_start, run_id)
SELECT team_id, subscription_key, period_start, %(run_id)s FROM billing.billing_periods
WHERE period_end = date_trunc('month', now(), 'UTC')
ON CONFLICT DO NOTHING;

-- name: empty_queue
-- What opening the run queued is not what is measured.
DELETE FROM billing.periods_to_rate;

-- name: vacuum
-- As autovacuum leaves it.
VACUUM ANALYZE intermediate.int_usage_buckets, marts.fct_usage_hourly, marts.fct_usage_daily, marts.fct_usage_monthly,
    marts.fct_rated_usage, marts.fct_bill_lines, marts.fct_stripe_usage;

-- name: bills_made
-- The bills of the month that ended last, their lines, and how much of the usage they bill.
SELECT count(DISTINCT team_id) AS bills, count(*) AS lines, sum(quantity) AS billed,
    (SELECT sum(quantity) FROM intermediate.int_usage_buckets
     WHERE recorded_to = 'infinity' AND bucket_start < date_trunc('month', now(), 'UTC')
         AND bucket_start >= date_trunc('month', now(), 'UTC') - interval '1 month') AS used
FROM marts.fct_bill_lines
WHERE period_end = date_trunc('month', now(), 'UTC');

-- name: some_teams
-- Teams to preview a bill of.
SELECT team_id, team_key, time_zone FROM billing.teams
WHERE team_key LIKE 'rate-%%' ORDER BY hashint4(team_id) LIMIT %(teams)s;
