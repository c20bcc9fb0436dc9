-- Statements of metering.bench.asof: what to ask about, and the plain query to compare with.

-- name: last_period
-- The calendar month that ended last, with its label.
SELECT
    to_char(date_trunc('month', now(), 'UTC') - interval '1 month', 'YYYY-MM') AS label,
    date_trunc('month', now(), 'UTC') - interval '1 month' AS since, date_trunc('month', now(), 'UTC') AS until;

-- name: land_late
-- Late usage of quarter-hours of the last thirty days that have some already.
WITH recorded AS MATERIALIZED (SELECT landing.record_now() AS recorded_at),
chosen AS MATERIALIZED (
    SELECT team_id, event_name, date_bin('15 minutes', occurred_at, '2000-01-01Z') AS bucket_start, event_key
    FROM landing.usage_events
    WHERE occurred_at >= now() - interval '30 days' AND occurred_at < date_trunc('hour', now()) - interval '1 hour'
    ORDER BY hashtext(event_key)
    LIMIT %(events)s
),
batch AS (
    INSERT INTO landing.batches (recorded_at, source, accepted, duplicates, quarantined, first_occurred_at, last_occurred_at)
    SELECT recorded_at, 'bench', count(*), 0, 0, min(bucket_start), max(bucket_start) + interval '15 minutes'
    FROM recorded CROSS JOIN chosen
    GROUP BY recorded_at
    RETURNING batch_id, recorded_at
)
INSERT INTO landing.usage_events (
    team_id, occurred_at, key_digest, event_key, event_name, quantity, properties, batch_id, recorded_at)
SELECT
    chosen.team_id, chosen.bucket_start + interval '1 second' * (hashtext(chosen.event_key) & 511), gen_random_uuid(),
    'late-' || chosen.event_key, chosen.event_name, 7, '{}', batch.batch_id, batch.recorded_at
FROM chosen CROSS JOIN batch;

-- name: final_bills
-- How many bills of a period are final.
SELECT count(*) AS bills FROM billing.finalized_bills JOIN billing.billing_periods USING (team_id, subscription_key, period_start)
WHERE period_label = %(label)s;

-- name: change_price
-- A price that is corrected for all of the time.
WITH price AS (SELECT price_id FROM billing.prices WHERE price_key = 'rate/rate_1'),
version AS (
    INSERT INTO billing.price_versions (price_id, effective_from, model, charge_unit)
    SELECT price_id, '2020-01-01Z', 'per_unit', 'call' FROM price
    RETURNING price_version_id
)
INSERT INTO billing.price_tiers (price_version_id, tier, over, up_to, unit_amount)
SELECT price_version_id, 1, 0, NULL, 0.002 FROM version;

-- name: some_teams
-- Teams to ask about.
SELECT team_key FROM billing.teams WHERE team_key LIKE 'rate-%%' ORDER BY hashint4(team_id) LIMIT %(teams)s;

-- name: plain
-- Today's bill, as the marts have it.
SELECT * FROM marts.fct_bill_lines WHERE team_key = %(team)s AND period_label = %(period)s;

-- name: copy_versions
-- Quarter-hours of a month with all their versions,
CREATE UNLOGGED TABLE bench_versions AS
SELECT * FROM intermediate.int_usage_buckets WHERE bucket_start >= %(since)s AND bucket_start < %(until)s;

-- name: index_versions
-- and their key.
CREATE UNIQUE INDEX ON bench_versions (team_id, meter_id, bucket_start, dimensions, member, recorded_from);

-- name: copy_standing
-- The same without versions: what stands, and no recorded time,
CREATE UNLOGGED TABLE bench_standing AS
SELECT team_id, meter_id, bucket_start, dimensions, member, event_count, quantity, passed_quantity_seconds, decided_at
FROM bench_versions WHERE recorded_to = 'infinity';

-- name: index_standing
-- and their key.
CREATE UNIQUE INDEX ON bench_standing (team_id, meter_id, bucket_start, dimensions, member);

-- name: versions
-- Rows and bytes of both.
SELECT
    count(*) AS rows, count(*) FILTER (WHERE recorded_to < 'infinity') AS gone,
    pg_total_relation_size('bench_versions') AS kept, pg_total_relation_size('bench_standing') AS plain
FROM bench_versions;

-- name: supersede
-- What keeping versions does with as many rows as the last run has written: it closes them.
UPDATE intermediate.int_usage_buckets SET recorded_to = now()
WHERE recorded_to = 'infinity' AND recorded_from = (SELECT max(recorded_until) FROM billing.metering_runs);

-- name: forget
-- What would be done with them otherwise.
DELETE FROM intermediate.int_usage_buckets
WHERE recorded_to = 'infinity' AND recorded_from = (SELECT max(recorded_until) FROM billing.metering_runs);
