-- Statements of metering.bench.stripe_faults: what Stripe should have, and what both sides have in the end.

-- name: make_periods
-- Two billing periods of each team; the first ends and the second begins in the middle of a UTC day.
INSERT INTO billing.billing_periods
    (team_id, subscription_key, period_start, period_end, period_label, time_zone, currency)
SELECT team_id, 'main', start, until, label, 'UTC', 'USD'
FROM billing.teams
CROSS JOIN (VALUES
    (%(start)s::timestamptz, %(edge)s::timestamptz, 'first'), (%(edge)s, %(until)s, 'second')) AS p (start, until, label);

-- name: empty_mart
-- What the mart said is replaced as a whole.
DELETE FROM marts.fct_stripe_usage;

-- name: fill_mart
-- What Stripe should have from now on.
INSERT INTO marts.fct_stripe_usage
    (team_id, meter_id, dimensions, subscription_key, period_start, period_end, window_start, window_end, quantity)
SELECT team_id, meter_id, '{}', 'main', period_start, period_end, window_start, window_end, quantity
FROM unnest(%(team_id)s::integer[], %(meter_id)s::integer[], %(window_start)s::timestamptz[], %(window_end)s::timestamptz[],
    %(quantity)s::numeric[]) AS wanted (team_id, meter_id, window_start, window_end, quantity)
JOIN billing.billing_periods AS period USING (team_id)
WHERE window_start >= period_start AND window_start < period_end;

-- name: counterparts
-- What each team and meter is called at Stripe.
SELECT team_id, team_key, meter_id, stripe_customer_id, stripe_meter_id
FROM billing.stripe_customers JOIN billing.teams USING (team_id) CROSS JOIN billing.stripe_meters;

-- name: waiting
-- What has no final outcome, what is held, and what the ledger lacks.
SELECT
    (SELECT count(*) FROM billing.stripe_submissions
     WHERE state IN ('pending', 'in_flight', 'uncertain', 'accepted')) AS open,
    (SELECT count(*) FROM billing.stripe_windows WHERE held_code IS NOT NULL)
    + (SELECT count(*) FROM billing.holds WHERE released_at IS NULL) AS held,
    (SELECT count(*) FROM billing.stripe_window_states WHERE target_quantity <> ledger_quantity) AS owed;

-- name: is_behind
-- Whether this database knows that it is older than what Stripe has.
SELECT behind_since IS NOT NULL AS is_behind FROM billing.stripe_ledger;

-- name: states
-- Submissions by state, for who looks why something is wrong.
SELECT state, count(*) AS submissions FROM billing.stripe_submissions GROUP BY state ORDER BY state;
