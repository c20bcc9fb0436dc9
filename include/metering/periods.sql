-- name: record_now
-- Periods are opened in the order of recording, as everything is that metering takes up.
SELECT landing.record_now();

-- name: open_periods
-- Opens what has begun, from the version of each subscription that counts now.
WITH subscriptions AS (
    SELECT DISTINCT ON (team_id, subscription_key) *
    FROM billing.subscriptions
    ORDER BY team_id, subscription_key, recorded_at DESC
),
written AS (
    INSERT INTO billing.billing_periods (
        team_id, subscription_key, period_start, period_end, period_label, time_zone, currency)
    SELECT
        subscriptions.team_id, subscriptions.subscription_key, periods.period_start, periods.period_end,
        periods.period_label, subscriptions.time_zone, subscriptions.currency
    FROM subscriptions
    CROSS JOIN LATERAL billing.periods_of(
        subscriptions.starts_at, subscriptions.ends_at, subscriptions.time_zone, subscriptions.anchor_day,
        subscriptions.cycle_days, subscriptions.cycle_from, clock_timestamp()) AS periods
    ON CONFLICT (team_id, subscription_key, period_start) DO UPDATE
        SET period_end = excluded.period_end, period_label = excluded.period_label, takes_usage = true,
            opened_at = clock_timestamp()
        WHERE billing_periods.status = 'active'
            AND (billing_periods.period_end <> excluded.period_end OR NOT billing_periods.takes_usage)
    RETURNING 1
)
SELECT count(*) AS opened FROM written;

-- name: leave_ended
-- A period that was opened and that its subscription, which was given an earlier end, does not reach any more: it takes no
-- usage. What is due about earlier periods may still stand there, so it becomes a closing period.
UPDATE billing.billing_periods AS periods
SET takes_usage = false, period_label = periods.period_label || '-closing', opened_at = clock_timestamp()
FROM (
    SELECT DISTINCT ON (team_id, subscription_key) *
    FROM billing.subscriptions
    ORDER BY team_id, subscription_key, recorded_at DESC
) AS subscriptions
WHERE subscriptions.team_id = periods.team_id AND subscriptions.subscription_key = periods.subscription_key
    AND periods.period_start >= subscriptions.ends_at AND periods.finalized_at IS NULL AND periods.takes_usage;

-- name: open_closing_periods
-- A subscription that is over, all of whose bills are final, gets a closing period when anything about them is to be rated again:
-- the rest of the cycle that runs now, as if the subscription went on. What is then due stands there; where nothing is, the
-- period goes away when periods are closed.
INSERT INTO billing.billing_periods (
    team_id, subscription_key, period_start, period_end, period_label, time_zone, currency, takes_usage)
SELECT
    subscriptions.team_id, subscriptions.subscription_key, greatest(cycle.period_start, subscriptions.ends_at),
    cycle.period_end, cycle.period_label || '-closing', subscriptions.time_zone, subscriptions.currency, false
FROM (
    SELECT DISTINCT ON (team_id, subscription_key) *
    FROM billing.subscriptions
    ORDER BY team_id, subscription_key, recorded_at DESC
) AS subscriptions
CROSS JOIN LATERAL (
    SELECT * FROM billing.periods_of(
        subscriptions.starts_at, NULL, subscriptions.time_zone, subscriptions.anchor_day, subscriptions.cycle_days,
        subscriptions.cycle_from, clock_timestamp()) AS cycles
    WHERE cycles.period_end > clock_timestamp()
) AS cycle
WHERE subscriptions.ends_at <= clock_timestamp()
    AND EXISTS (
        SELECT FROM billing.periods_to_rate AS queued
        JOIN billing.billing_periods AS touched USING (team_id, subscription_key, period_start)
        WHERE (touched.team_id, touched.subscription_key) = (subscriptions.team_id, subscriptions.subscription_key)
            AND touched.finalized_at IS NOT NULL)
    AND NOT EXISTS (
        SELECT FROM billing.billing_periods AS open
        WHERE (open.team_id, open.subscription_key) = (subscriptions.team_id, subscriptions.subscription_key)
            AND open.finalized_at IS NULL)
ON CONFLICT (team_id, subscription_key, period_start) DO NOTHING;
