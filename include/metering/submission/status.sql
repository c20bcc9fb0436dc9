-- name: ledger
-- Where the ledger is not in order: since when it is known that this database is older than what Stripe has.
SELECT mark, epoch, behind_since FROM billing.stripe_ledger WHERE behind_since IS NOT NULL;

-- name: reports
-- What Stripe reported of the last 30 days that it had accepted and refused afterwards, by meter and code.
SELECT meter_key, code, sum(error_count) AS events, max(validation_end) AS latest,
       (array_agg(samples -> 0 ->> 'message' ORDER BY validation_end DESC))[1] AS message
FROM billing.stripe_error_reports
LEFT JOIN billing.stripe_meters USING (stripe_meter_id)
LEFT JOIN billing.meters USING (meter_id)
WHERE received_at > clock_timestamp() - interval '30 days'
GROUP BY meter_key, code
ORDER BY meter_key, code;

-- name: by_state
-- Submissions by state.
SELECT state, count(*) AS submissions, trim_scale(sum(abs(quantity))) AS quantity
FROM billing.stripe_submissions
GROUP BY state
ORDER BY state;

-- name: latest_verdicts
-- What the latest reading of each period said, by verdict, with the sum of what differs.
SELECT verdict, count(*) AS periods, trim_scale(sum(abs(stripe_quantity - ledger_quantity))) AS difference,
       max(observed_at) AS last_read
FROM (
    SELECT DISTINCT ON (team_id, meter_id, subscription_key, period_start) *
    FROM billing.stripe_observations
    ORDER BY team_id, meter_id, subscription_key, period_start, observed_at DESC
) AS latest
GROUP BY verdict
ORDER BY verdict;

-- name: held
-- Held windows by team, meter and reason.
SELECT team_key, meter_key, held_code, min(held_reason) AS held_reason, count(*) AS windows,
       trim_scale(sum(target_quantity - ledger_quantity)) AS quantity
FROM billing.stripe_window_states
JOIN billing.teams USING (team_id)
JOIN billing.meters USING (meter_id)
WHERE held_code IS NOT NULL
GROUP BY team_key, meter_key, held_code
ORDER BY team_key, meter_key, held_code;

-- name: teams_on_hold
-- Teams that are on hold, for whatever reason.
SELECT team_key, gate, reason, held_at
FROM billing.holds
JOIN billing.teams USING (team_id)
WHERE released_at IS NULL
ORDER BY team_key, held_at;

-- name: last_failures
-- The last answers to what has no outcome yet.
SELECT team_key, meter_key, window_start, submission.state, attempts, http_status, error_message, not_before
FROM billing.stripe_submissions AS submission
JOIN billing.teams USING (team_id)
JOIN billing.meters USING (meter_id)
WHERE submission.state IN ('uncertain', 'in_flight') OR submission.state = 'pending' AND attempts > 0
ORDER BY last_attempt_at DESC NULLS LAST
LIMIT 10;
