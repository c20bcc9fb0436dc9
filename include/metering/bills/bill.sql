-- Statements of metering.bills.bill: a bill as it stood at a moment.

-- name: periods
-- The billing periods of a label as known at the moment, or those that ran then.
SELECT
    periods.subscription_key, periods.period_label, periods.period_start, periods.period_end, periods.time_zone,
    periods.currency::text AS currency,
    CASE
        WHEN periods.is_finalized THEN 'finalized'
        WHEN periods.period_end <= %(as_of)s THEN 'closing'
        ELSE 'active'
    END AS status
FROM intermediate.int_billing_periods AS periods
WHERE periods.team_id = %(team_id)s
    AND (%(subscription)s::text IS NULL OR periods.subscription_key = %(subscription)s)
    AND CASE
        WHEN %(period)s::text IS NULL THEN periods.period_start <= %(as_of)s AND periods.period_end > %(as_of)s
        ELSE periods.period_label = %(period)s
    END
ORDER BY periods.subscription_key, periods.period_start;

-- name: labels
-- The periods that a team has, the last ones first, to say where one asks for another.
SELECT period_label, subscription_key FROM intermediate.int_billing_periods
WHERE team_id = %(team_id)s
ORDER BY period_start DESC, subscription_key
LIMIT 12;
