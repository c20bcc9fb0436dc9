-- name: days_owed
-- Days (UTC) of usage that Stripe should have and has not: where the sum of what was taken is not what it should be.
SELECT DISTINCT date_trunc('day', usage.window_start, 'UTC') AS day
FROM marts.fct_stripe_usage AS usage
LEFT JOIN LATERAL (
    SELECT sum(submission.quantity) AS quantity
    FROM billing.stripe_submissions AS submission
    WHERE (submission.team_id, submission.meter_id, submission.dimensions, submission.window_start, submission.window_end)
        = (usage.team_id, usage.meter_id, usage.dimensions, usage.window_start, usage.window_end)
      AND submission.state IN ('accepted', 'confirmed')
) AS taken ON true
WHERE usage.quantity <> coalesce(taken.quantity, 0)
ORDER BY 1;

-- name: nobody_sends
-- Wait until no submission is on its way, and let none set out until the end of the transaction.
SELECT pg_advisory_xact_lock(7104);

-- name: submissions
-- How many submissions Stripe has taken, and how many of them its own totals have confirmed.
SELECT count(*) FILTER (WHERE state IN ('accepted', 'confirmed')) AS sent,
       count(*) FILTER (WHERE state = 'confirmed') AS confirmed
FROM billing.stripe_submissions;

-- name: bills
-- Every bill as it stands.
SELECT team_key AS team, period_label AS period, period_start, currency::text AS currency, total, status
FROM marts.fct_bills
ORDER BY team_key, period_start;

-- name: differences
-- The sum of the absolute differences at each step of the way from raw events to Stripe, over every team, period and meter.
SELECT trim_scale(coalesce(sum(abs(events_landed - events_metered)), 0))::text AS landed_minus_metered_events,
       trim_scale(coalesce(sum(abs(landed_minus_metered)), 0))::text AS landed_minus_metered,
       trim_scale(coalesce(sum(abs(metered_minus_rated)), 0))::text AS metered_minus_rated,
       trim_scale(coalesce(sum(abs(rated_minus_billed)), 0))::text AS rated_minus_billed,
       trim_scale(coalesce(sum(abs(rated_minus_billed_amount)), 0))::text AS rated_minus_billed_amount,
       trim_scale(coalesce(sum(abs(billed_minus_ledger)), 0))::text AS billed_minus_ledger,
       trim_scale(coalesce(sum(abs(ledger_minus_submitted)), 0))::text AS ledger_minus_submitted,
       trim_scale(coalesce(sum(abs(submitted_minus_stripe)), 0))::text AS submitted_minus_stripe
FROM marts.fct_reconciliation;


