-- Statements of metering.submission.audit: our side's evidence of what Stripe was told about a billing period.

-- name: one_snapshot
-- All of it is read from one state of the database; none of it writes.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;

-- name: counterparts
-- The meters of a period of which Stripe was told, or is to be, and what they and the customer are called at Stripe.
SELECT DISTINCT
    meters.meter_id, meters.meter_key, customer.stripe_customer_id, counterpart.stripe_meter_id
FROM billing.stripe_windows AS address
JOIN billing.meters AS meters USING (meter_id)
LEFT JOIN billing.stripe_customers AS customer USING (team_id)
LEFT JOIN billing.stripe_meters AS counterpart USING (meter_id)
WHERE address.team_id = %(team_id)s AND address.event_at >= %(start)s AND address.event_at < %(end)s
ORDER BY meters.meter_key;

-- name: submissions
-- Each submission of a period, whatever became of it.
SELECT
    meters.meter_key AS meter, submission.window_start, submission.window_end, submission.dimensions, submission.sequence,
    trim_scale(submission.quantity) AS quantity, submission.state, submission.identifier, submission.request_id,
    submission.attempts, submission.accepted_at, submission.confirmed_at, submission.error_message AS error
FROM billing.stripe_submissions AS submission
JOIN billing.stripe_windows AS address USING (team_id, meter_id, window_start, window_end, dimensions)
JOIN billing.meters AS meters USING (meter_id)
WHERE submission.team_id = %(team_id)s AND address.event_at >= %(start)s AND address.event_at < %(end)s
ORDER BY meters.meter_key, submission.window_start, submission.dimensions, submission.sequence;

-- name: lines
-- The lines of the period's bill, and adjustments about it on later bills.
SELECT
    lines.meter_key AS meter, lines.period_label AS on_bill, lines.line_key AS line, lines.kind,
    trim_scale(lines.quantity) AS quantity, round(lines.amount, currencies.exponent) AS amount, lines.currency
FROM marts.fct_bill_lines AS lines
JOIN billing.currencies AS currencies ON currencies.currency = lines.currency
WHERE lines.team_id = %(team_id)s AND lines.subscription_key = %(subscription)s
    AND lines.about_period_start = %(start)s
ORDER BY lines.period_start, lines.line_key;
