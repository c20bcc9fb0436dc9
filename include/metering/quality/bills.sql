-- name: batch
-- One row a bill that is not final: its total beside its lines, and what the gate before this one saw.
SELECT
    bills.team_id, bills.subscription_key, bills.period_start, bills.period_end, bills.period_label, bills.currency,
    currencies.exponent, bills.total,
    coalesce(lines.total, 0) AS lines_total,
    coalesce(lines.finer, 0) AS finer,
    bills.period_end <= runs.recorded_until AS ended,
    (SELECT gated.total FROM billing.gated_bills AS gated
     WHERE gated.team_id = bills.team_id AND gated.subscription_key = bills.subscription_key
        AND gated.period_start = bills.period_start AND gated.run_id < %(run_id)s
     ORDER BY gated.run_id DESC LIMIT 1) AS total_before
FROM marts.fct_bills AS bills
JOIN billing.currencies AS currencies ON currencies.currency = bills.currency
JOIN billing.metering_runs AS runs ON runs.run_id = %(run_id)s
LEFT JOIN (
    SELECT lines.team_id, lines.subscription_key, lines.period_start, sum(lines.amount) AS total,
        count(*) FILTER (WHERE scale(trim_scale(lines.amount)) > currencies.exponent) AS finer
    FROM marts.fct_bill_lines AS lines
    JOIN billing.currencies AS currencies ON currencies.currency = lines.currency
    GROUP BY lines.team_id, lines.subscription_key, lines.period_start
) AS lines USING (team_id, subscription_key, period_start)
WHERE bills.status <> 'finalized'

-- name: lines_make_total
-- The lines of a bill do not add up to its total.
SELECT batch.team_id, batch.period_label AS about, batch.lines_total - batch.total AS found
FROM {batch} AS batch
WHERE batch.lines_total <> batch.total

-- name: tiers_make_usage
-- The tiers of a bill line do not add up to its usage.
SELECT batch.team_id, batch.period_label || ' ' || lines.line_key AS about,
    lines.charge_quantity - coalesce(tiers.quantity, 0) AS found
FROM {batch} AS batch
JOIN marts.fct_bill_lines AS lines USING (team_id, subscription_key, period_start)
LEFT JOIN (
    SELECT team_id, subscription_key, period_start, line_key, sum(tier_quantity) AS quantity
    FROM marts.fct_rated_usage GROUP BY team_id, subscription_key, period_start, line_key
) AS tiers USING (team_id, subscription_key, period_start, line_key)
WHERE lines.kind = 'usage' AND lines.charge_quantity <> coalesce(tiers.quantity, 0)

-- name: tiers_make_amount
-- The amount of a bill line is further than half a minor unit from what its tiers cost.
SELECT batch.team_id, batch.period_label || ' ' || lines.line_key AS about,
    lines.amount - coalesce(tiers.amount, 0) AS found
FROM {batch} AS batch
JOIN marts.fct_bill_lines AS lines USING (team_id, subscription_key, period_start)
LEFT JOIN (
    SELECT team_id, subscription_key, period_start, line_key, sum(usage_amount + fixed_amount) AS amount
    FROM marts.fct_rated_usage GROUP BY team_id, subscription_key, period_start, line_key
) AS tiers USING (team_id, subscription_key, period_start, line_key)
WHERE lines.kind = 'usage'
    AND abs(lines.amount - coalesce(tiers.amount, 0)) > 0.5 * power(10::numeric, -batch.exponent)

-- name: unpriced_usage
-- Usage of an open bill has no price.
SELECT batch.team_id, batch.period_label || ' ' || meters.meter_key || ', ' || unpriced.reason AS about,
    sum(unpriced.quantity) AS found
FROM {batch} AS batch
JOIN intermediate.int_usage_unpriced AS unpriced USING (team_id, period_start)
JOIN billing.meters AS meters USING (meter_id)
GROUP BY batch.team_id, batch.period_label, meters.meter_key, unpriced.reason

-- name: usage_without_period
-- Usage lies in no billing period of its team.
SELECT unpriced.team_id, meters.meter_key AS about, sum(unpriced.quantity) AS found
FROM intermediate.int_usage_unpriced AS unpriced
JOIN billing.meters AS meters USING (meter_id)
WHERE unpriced.period_start IS NULL
GROUP BY unpriced.team_id, meters.meter_key

-- name: negative_total
-- A bill is below zero.
SELECT batch.team_id, batch.period_label AS about, batch.total AS found
FROM {batch} AS batch
WHERE batch.total < 0

-- name: finer_than_currency
-- Amounts are finer than the minor unit of their currency.
SELECT batch.team_id, batch.period_label || ' ' || batch.currency AS about, batch.finer AS found
FROM {batch} AS batch
WHERE batch.finer > 0

-- name: amount_moved
-- The total of a period that has ended moved by more than 2 percent since the last gate.
SELECT batch.team_id, batch.period_label || ' was ' || trim_scale(batch.total_before) AS about, trim_scale(batch.total) AS found
FROM {batch} AS batch
WHERE batch.ended AND abs(batch.total - batch.total_before) > %(amount_moved)s * abs(batch.total_before)

-- name: usage_moved
-- A meter's usage in a period that has ended is more than 50 percent away from the period before.
SELECT batch.team_id, batch.period_label || ' ' || meters.meter_key || ' was ' || trim_scale(before.quantity) AS about,
    trim_scale(coalesce(now.quantity, 0)) AS found
FROM {batch} AS batch
JOIN billing.billing_periods AS own
    ON own.team_id = batch.team_id AND own.subscription_key = batch.subscription_key
    AND own.period_start = batch.period_start AND own.takes_usage
JOIN billing.billing_periods AS earlier
    ON earlier.team_id = batch.team_id AND earlier.subscription_key = batch.subscription_key
    AND earlier.period_end = batch.period_start
JOIN (
    SELECT team_id, subscription_key, about_period_start, meter_id, sum(quantity) AS quantity
    FROM marts.fct_bill_lines GROUP BY team_id, subscription_key, about_period_start, meter_id
) AS before
    ON before.team_id = earlier.team_id AND before.subscription_key = earlier.subscription_key
    AND before.about_period_start = earlier.period_start
LEFT JOIN (
    SELECT team_id, subscription_key, about_period_start, meter_id, sum(quantity) AS quantity
    FROM marts.fct_bill_lines GROUP BY team_id, subscription_key, about_period_start, meter_id
) AS now
    ON now.team_id = batch.team_id AND now.subscription_key = batch.subscription_key
    AND now.about_period_start = batch.period_start AND now.meter_id = before.meter_id
JOIN billing.meters AS meters ON meters.meter_id = before.meter_id
WHERE batch.ended AND before.quantity <> 0
    AND abs(coalesce(now.quantity, 0) - before.quantity) > %(usage_moved)s * abs(before.quantity)

-- name: first_bill
-- It is the first bill of a subscription.
SELECT batch.team_id, batch.period_label AS about, trim_scale(batch.total) AS found
FROM {batch} AS batch
WHERE batch.ended AND NOT EXISTS (
    SELECT FROM billing.billing_periods AS earlier
    WHERE earlier.team_id = batch.team_id AND earlier.subscription_key = batch.subscription_key
        AND earlier.period_start < batch.period_start)

-- name: remember_bills
-- Keeps the totals that this gate saw, where they are not those of the gate before; tells how many bills there
-- were, how many moved, and what they come to by currency.
WITH bills AS (
    SELECT bills.team_id, bills.subscription_key, bills.period_start, bills.currency, bills.total
    FROM marts.fct_bills AS bills
    WHERE bills.status <> 'finalized'
),
remembered AS (
    INSERT INTO billing.gated_bills (team_id, subscription_key, period_start, run_id, total)
    SELECT bills.team_id, bills.subscription_key, bills.period_start, %(run_id)s, bills.total
    FROM bills
    LEFT JOIN LATERAL (
        SELECT gated.total FROM billing.gated_bills AS gated
        WHERE gated.team_id = bills.team_id AND gated.subscription_key = bills.subscription_key
            AND gated.period_start = bills.period_start AND gated.run_id < %(run_id)s
        ORDER BY gated.run_id DESC LIMIT 1) AS before ON true
    WHERE bills.total IS DISTINCT FROM before.total
    ON CONFLICT (team_id, subscription_key, period_start, run_id) DO UPDATE SET total = excluded.total
    RETURNING 1
)
SELECT
    (SELECT count(*) FROM bills) AS bills,
    (SELECT count(*) FROM remembered) AS moved,
    (SELECT coalesce(jsonb_object_agg(totals.currency, totals.total), '{}') FROM (
        SELECT bills.currency, trim_scale(sum(bills.total))::text AS total FROM bills GROUP BY bills.currency) AS totals
    ) AS totals;
