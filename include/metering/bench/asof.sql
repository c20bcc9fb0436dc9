-- Statements of metering.bench.asof: what to ask about, and the plain query to compare with.

-- name: last_period
-- The label of the billing period that ended last.
SELECT max(period_label) AS label FROM billing.billing_periods WHERE finalized_at IS NOT NULL;

-- name: final_bills
-- How many bills are final.
SELECT count(*) AS bills FROM billing.finalized_bills;

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

-- name: versions
-- The quarter-hours with all their versions: how many rows, how many of them stand, and the bytes of all.
SELECT count(*) AS rows, count(*) FILTER (WHERE recorded_to = 'infinity') AS standing,
       pg_total_relation_size('intermediate.int_usage_buckets') AS size
FROM intermediate.int_usage_buckets;

-- name: supersede
-- What keeping versions does with as many rows as the last run has written: it closes them.
UPDATE intermediate.int_usage_buckets SET recorded_to = now()
WHERE recorded_to = 'infinity' AND recorded_from = (SELECT max(recorded_until) FROM billing.metering_runs);

-- name: forget
-- What would be done with them otherwise.
DELETE FROM intermediate.int_usage_buckets
WHERE recorded_to = 'infinity' AND recorded_from = (SELECT max(recorded_until) FROM billing.metering_runs);
