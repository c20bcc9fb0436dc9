-- Statements of metering.reading.report: usage and cost of a team, to the last event that was acknowledged.

-- name: one_snapshot
-- All statements of a report see one state of the database; none of them writes.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;

-- name: ask
-- The first statement, whose snapshot is taken after now(): what was acknowledged before as_of is in it. To plan some forty views takes
-- longer than to read them for one team, so a connection that has asked before plans no more: all that differs are values.
SELECT
    now() AS as_of,
    (SELECT max(recorded_until) FROM billing.metering_runs) AS metered_until,
    set_config('billing.asked_team', %(team_id)s::integer::text, true) AS asked_team,
    set_config('jit', 'off', true) AS jit,
    set_config('plan_cache_mode', 'force_generic_plan', true) AS plans;

-- name: hand_in_what_is_unmetered
-- From here on the views hold what metering has yet to work in of this team, and are joined as whole sets: see
-- macros/asked.sql and macros/plan_for_sets.sql.
SELECT
    length(set_config('billing.unmetered_usage', coalesce(
        (SELECT jsonb_agg(to_jsonb(unmetered))::text FROM intermediate.int_usage_unmetered AS unmetered), ''), true)) AS bytes,
    set_config('enable_nestloop', 'off', true) AS nestloop;

-- name: periods
-- The billing periods that are asked for: those that run now, or those of one label.
SELECT
    periods.subscription_key, periods.period_label, periods.period_start, periods.period_end, periods.time_zone,
    periods.currency::text AS currency,
    CASE
        WHEN periods.is_finalized THEN 'finalized'
        WHEN periods.period_end <= now() THEN 'closing'
        ELSE 'active'
    END AS status
FROM intermediate.int_billing_periods AS periods
WHERE periods.team_id = %(team_id)s
    AND (%(subscription)s::text IS NULL OR periods.subscription_key = %(subscription)s)
    AND CASE
        WHEN %(period)s::text IS NULL THEN periods.period_start <= now() AND periods.period_end > now()
        ELSE periods.period_label = %(period)s
    END
ORDER BY periods.subscription_key, periods.period_start;

-- name: usage
-- Usage within a period of the meters that add up: of each meter, of each of its dimension slices and of each local day.
-- dimensions and local_day are null where the row is not about one.
SELECT
    meters.meter_key, meters.unit,
    known.dimensions, (known.bucket_start AT TIME ZONE %(time_zone)s)::date AS local_day,
    trim_scale(sum(known.quantity)) AS quantity,
    sum(known.event_count)::bigint AS events
FROM intermediate.int_usage_known AS known
JOIN staging.stg_billing__meters AS meters ON meters.meter_id = known.meter_id AND meters.is_additive
WHERE known.team_id = %(team_id)s
    AND known.bucket_start >= %(period_start)s AND known.bucket_start < %(period_end)s
GROUP BY GROUPING SETS (
    (meters.meter_key, meters.unit),
    (meters.meter_key, meters.unit, known.dimensions),
    (meters.meter_key, meters.unit, (known.bucket_start AT TIME ZONE %(time_zone)s)::date)
)
ORDER BY meters.meter_key, local_day, quantity DESC;

-- name: has_meters_apart
-- Whether any meter is of those that don't add up.
SELECT EXISTS (SELECT FROM staging.stg_billing__meters WHERE NOT is_additive) AS found;

-- name: usage_apart
-- The same of the meters that don't: the usage of all slices, or days, is not the sum of theirs.
SELECT
    meters.meter_key, meters.unit, apart.dimensions, apart.local_day,
    trim_scale(apart.quantity) AS quantity, apart.event_count AS events
FROM intermediate.int_usage_apart AS apart
JOIN billing.meters AS meters USING (meter_id)
WHERE apart.team_id = %(team_id)s
    AND apart.subscription_key = %(subscription_key)s AND apart.period_start = %(period_start)s
ORDER BY meters.meter_key, apart.local_day, apart.quantity DESC;

-- name: unpriced
-- Usage of the period that meets no price and is on no line, though its meter has prices; a level by its mean.
SELECT
    meters.meter_key, priced.dimensions, meters.unit,
    trim_scale(round(CASE meters.aggregation
        WHEN 'weighted_sum'
            THEN sum(priced.quantity) / extract(epoch FROM %(period_end)s::timestamptz - %(period_start)s::timestamptz)
        WHEN 'average' THEN sum(priced.quantity) / sum(priced.event_count)
        WHEN 'count' THEN sum(priced.quantity)
        WHEN 'sum' THEN sum(priced.quantity)
        WHEN 'bucketed_sum' THEN sum(priced.quantity)
        ELSE max(priced.quantity)
    END, 12)) AS quantity
FROM intermediate.int_usage_priced AS priced
JOIN billing.meters AS meters USING (meter_id)
WHERE priced.team_id = %(team_id)s
    AND priced.subscription_key = %(subscription_key)s
    AND priced.period_start = %(period_start)s
    AND priced.price_version_id IS NULL
GROUP BY meters.meter_key, priced.dimensions, meters.unit, meters.aggregation
ORDER BY meters.meter_key, quantity DESC
LIMIT 100;

-- name: history
-- The bills of earlier periods, the newest first, from the marts: as of the last metering.
SELECT
    bills.subscription_key, bills.period_label, bills.period_start, bills.period_end, bills.status, bills.currency,
    round(bills.total, currencies.exponent) AS total,
    round(bills.adjustments, currencies.exponent) AS adjustments
FROM marts.fct_bills AS bills
JOIN billing.currencies AS currencies ON currencies.currency = bills.currency
WHERE bills.team_id = %(team_id)s
    AND (%(subscription)s::text IS NULL OR bills.subscription_key = %(subscription)s)
    AND bills.period_end <= now()
ORDER BY bills.period_start DESC, bills.subscription_key
LIMIT %(history)s;

-- name: history_by_meter
-- What those bills hold of each meter; adjustments count with the bill that they stand on. Where a meter doesn't add up, several
-- lines of it have no quantity together.
SELECT
    lines.subscription_key, lines.period_label, lines.meter_key, lines.unit,
    trim_scale(CASE
        WHEN meters.is_additive OR count(*) FILTER (WHERE lines.kind IN ('usage', 'adjustment')) = 1 THEN sum(lines.quantity)
    END) AS quantity, round(sum(lines.amount), max(currencies.exponent)) AS amount
FROM marts.fct_bill_lines AS lines
JOIN billing.currencies AS currencies ON currencies.currency = lines.currency
JOIN staging.stg_billing__meters AS meters ON meters.meter_id = lines.meter_id
WHERE lines.team_id = %(team_id)s
    AND lines.period_start >= %(since)s
    AND lines.period_end <= now()
GROUP BY lines.subscription_key, lines.period_label, lines.meter_key, lines.unit, meters.is_additive
ORDER BY lines.meter_key;
