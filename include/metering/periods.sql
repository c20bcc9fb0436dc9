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
        clock_timestamp()) AS periods
    ON CONFLICT (team_id, subscription_key, period_start) DO UPDATE
        SET period_end = excluded.period_end, opened_at = clock_timestamp()
        WHERE billing_periods.status = 'active' AND billing_periods.period_end <> excluded.period_end
    RETURNING 1
)
SELECT count(*) AS opened FROM written;
