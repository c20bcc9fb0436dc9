-- Statements of metering.bench.submitting: a catalog and a mart of what Stripe should have.

-- name: make_mart
-- The mart that planning reads, as dbt makes it, without the models in front of it.
CREATE SCHEMA IF NOT EXISTS marts;
CREATE TABLE marts.fct_stripe_usage (
    team_id integer NOT NULL, meter_id integer NOT NULL, dimensions jsonb NOT NULL, subscription_key text NOT NULL,
    period_start timestamptz NOT NULL, period_end timestamptz NOT NULL, window_start timestamptz NOT NULL,
    window_end timestamptz NOT NULL, quantity numeric(38, 12) NOT NULL
);
CREATE UNIQUE INDEX ON marts.fct_stripe_usage (team_id, meter_id, window_start, dimensions);

-- name: make_teams
-- So many teams.
INSERT INTO billing.teams (team_key, team_name, time_zone)
SELECT 'bench-' || number, 'Bench ' || number, 'UTC' FROM generate_series(1, %(teams)s) AS number;

-- name: make_meters
-- So many meters.
INSERT INTO billing.meters (meter_key, meter_name, event_name, aggregation, unit)
SELECT 'bench_' || number, 'Bench ' || number, 'bench_' || number, 'sum', 'call' FROM generate_series(1, %(meters)s) AS number;

-- name: make_periods
-- A billing period of each team, which holds all windows.
INSERT INTO billing.billing_periods
    (team_id, subscription_key, period_start, period_end, period_label, time_zone, currency)
SELECT team_id, 'main', %(start)s, %(until)s, 'bench', 'UTC', 'USD' FROM billing.teams;

-- name: make_usage
-- A quantity of six decimals for each team, meter and day, the days counted back from one.
INSERT INTO marts.fct_stripe_usage
    (team_id, meter_id, dimensions, subscription_key, period_start, period_end, window_start, window_end, quantity)
SELECT team_id, meter_id, '{}', 'main', %(start)s, %(until)s, day, day + interval '1 day',
    team_id * 31 + meter_id * 7 + extract(day FROM day) + 0.000125
FROM billing.teams, billing.meters, generate_series(%(first)s::timestamptz, %(last)s::timestamptz, interval '1 day') AS day;

-- name: change_usage
-- Late usage in one window of so many.
UPDATE marts.fct_stripe_usage SET quantity = quantity + 1 WHERE (team_id + meter_id) %% %(every)s = 0;

-- name: analyze
-- As dbt leaves its tables.
ANALYZE marts.fct_stripe_usage, billing.billing_periods, billing.teams, billing.meters;

-- name: keep_only
-- Of what was planned, leave so many submissions to be sent.
UPDATE billing.stripe_submissions SET state = 'cancelled'
WHERE state = 'pending' AND (team_id, identifier) NOT IN (
    SELECT team_id, identifier FROM billing.stripe_submissions WHERE state = 'pending'
    ORDER BY window_start, team_id, meter_id LIMIT %(submissions)s);

-- name: accepted
-- What has arrived.
SELECT count(*) AS submissions, coalesce(sum(quantity), 0) AS quantity FROM billing.stripe_submissions
WHERE state IN ('accepted', 'confirmed');

-- name: vacuum
-- As autovacuum would have done by then.
VACUUM ANALYZE billing.stripe_submissions;
