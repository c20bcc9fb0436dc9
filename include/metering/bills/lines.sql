-- Statements of metering.bills.lines: what one bill says.

-- name: lines
-- The lines of the bill as it stands: what is known about the period, and what is due about periods that were final.
SELECT
    lines.line_key, lines.kind, prices.price_key, coalesce(prices.price_name, lines.kind) AS price_name,
    coalesce(prices.match, '{}') AS dimensions, meters.meter_key,
    trim_scale(lines.quantity) AS quantity, meters.unit,
    trim_scale(lines.charge_quantity) AS charge_quantity, versions.charge_unit,
    round(lines.amount, currencies.exponent) AS amount,
    about.period_label AS about_period
FROM intermediate.int_bill_lines AS lines
LEFT JOIN billing.price_versions AS versions USING (price_version_id)
LEFT JOIN billing.prices AS prices USING (price_id)
LEFT JOIN billing.meters AS meters ON meters.meter_id = lines.meter_id
JOIN billing.currencies AS currencies ON currencies.currency = lines.currency
JOIN intermediate.int_billing_periods AS about
    ON about.team_id = lines.team_id
    AND about.subscription_key = lines.subscription_key
    AND about.period_start = lines.about_period_start
WHERE lines.team_id = %(team_id)s
    AND lines.subscription_key = %(subscription_key)s
    AND lines.period_start = %(period_start)s
ORDER BY lines.kind DESC, lines.line_key;

-- name: tiers
-- What each tier of each price holds, by what is known about the period; not rounded.
SELECT
    tiers.line_key, tiers.tier, trim_scale(tiers.over) AS over, trim_scale(tiers.up_to) AS up_to,
    trim_scale(tiers.tier_quantity) AS quantity, trim_scale(tiers.unit_amount) AS unit_amount,
    trim_scale(tiers.usage_amount) AS usage_amount, trim_scale(tiers.fixed_amount) AS fixed_amount
FROM intermediate.int_tiers_rated AS tiers
WHERE tiers.team_id = %(team_id)s
    AND tiers.subscription_key = %(subscription_key)s
    AND tiers.period_start = %(period_start)s
ORDER BY tiers.line_key, tiers.tier;
