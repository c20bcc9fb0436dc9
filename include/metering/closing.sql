-- name: take_turn
-- Opening and closing of runs and the closing of periods take turns.
SELECT pg_advisory_xact_lock(7003);

-- name: metering_state
-- The run that is open, if any, and the recorded time up to which closed runs have worked.
SELECT
    (SELECT max(run_id) FROM billing.metering_runs WHERE closed_at IS NULL) AS open_run,
    (SELECT max(recorded_until) FROM billing.metering_runs WHERE closed_at IS NOT NULL) AS horizon;

-- name: record_now
-- A final bill is recorded in order with everything else that is, and all of one closing at one moment.
SELECT landing.record_now() AS now;

-- name: held_periods
-- Ended periods that a hold on their team keeps open.
SELECT teams.team_key, periods.period_label, string_agg(holds.reason, '; ' ORDER BY holds.held_at) AS reason
FROM billing.billing_periods AS periods
JOIN billing.teams AS teams USING (team_id)
JOIN billing.holds AS holds ON holds.team_id = periods.team_id AND holds.released_at IS NULL
WHERE periods.finalized_at IS NULL AND periods.period_end + %(grace)s::interval <= %(horizon)s::timestamptz
GROUP BY teams.team_key, periods.period_label
ORDER BY teams.team_key, periods.period_label;

-- name: drop_empty_closing_periods
-- A closing period exists only while something is due.
DELETE FROM billing.billing_periods AS periods
WHERE NOT periods.takes_usage AND periods.finalized_at IS NULL
    AND NOT EXISTS (
        SELECT FROM marts.fct_bill_lines AS lines
        WHERE (lines.team_id, lines.subscription_key, lines.period_start)
            = (periods.team_id, periods.subscription_key, periods.period_start))
    AND NOT EXISTS (
        SELECT FROM billing.periods_to_rate AS queue
        WHERE (queue.team_id, queue.subscription_key, queue.period_start)
            = (periods.team_id, periods.subscription_key, periods.period_start));

-- name: finalize_bills
-- Keeps the bill of each ended period whose usage up to the end of the grace is metered. A subscription of which anything
-- that ended is still queued waits as a whole, so that its bills become final in their order; one whose prices were recorded since
-- the last run took its horizon waits for the next, so that a bill holds what was known as of its moment and nothing else.
INSERT INTO billing.finalized_bills (
    team_id, subscription_key, period_start, currency, total, as_of, digest, finalized_at)
SELECT
    periods.team_id, periods.subscription_key, periods.period_start, periods.currency,
    coalesce(sum(lines.amount), 0),
    %(horizon)s::timestamptz,
    billing.bill_digest(string_agg(
        billing.line_said(lines.line_key, lines.kind, lines.about_period_start, lines.quantity, lines.amount),
        E'\n' ORDER BY lines.line_key COLLATE "C")),
    %(now)s
FROM billing.billing_periods AS periods
LEFT JOIN marts.fct_bill_lines AS lines USING (team_id, subscription_key, period_start)
WHERE periods.finalized_at IS NULL
    AND periods.period_end + %(grace)s::interval <= %(horizon)s::timestamptz
    AND NOT EXISTS (
        SELECT 1 FROM billing.holds AS holds WHERE holds.team_id = periods.team_id AND holds.released_at IS NULL)
    AND (periods.team_id, periods.subscription_key) NOT IN (
        SELECT team_id, subscription_key FROM billing.subscriptions_changed(%(horizon)s, 'infinity'))
    AND NOT EXISTS (
        SELECT 1
        FROM billing.periods_to_rate AS queue
        JOIN billing.billing_periods AS ended USING (team_id, subscription_key, period_start)
        WHERE queue.team_id = periods.team_id AND queue.subscription_key = periods.subscription_key
            AND ended.period_end + %(grace)s::interval <= %(horizon)s::timestamptz)
GROUP BY periods.team_id, periods.subscription_key, periods.period_start, periods.currency
RETURNING team_id, currency, total;

-- name: finalize_lines
-- Keeps the lines of the bills that were just kept.
INSERT INTO billing.finalized_bill_lines (
    team_id, subscription_key, period_start, line_key, kind, about_period_start, meter_id, price_version_id,
    quantity, charge_quantity, amount, exact_amount)
SELECT
    lines.team_id, lines.subscription_key, lines.period_start, lines.line_key, lines.kind, lines.about_period_start,
    lines.meter_id, lines.price_version_id, lines.quantity, lines.charge_quantity, lines.amount,
    lines.exact_amount
FROM marts.fct_bill_lines AS lines
JOIN billing.finalized_bills AS bills USING (team_id, subscription_key, period_start)
JOIN billing.billing_periods AS periods USING (team_id, subscription_key, period_start)
WHERE periods.finalized_at IS NULL;

-- name: finalize_periods
-- From now on what changes about these periods is an adjustment on a later bill.
UPDATE billing.billing_periods AS periods SET status = 'finalized', finalized_at = bills.finalized_at
FROM billing.finalized_bills AS bills
WHERE periods.finalized_at IS NULL
    AND bills.team_id = periods.team_id AND bills.subscription_key = periods.subscription_key
    AND bills.period_start = periods.period_start;
