-- name: trigger
-- Triggers alerts that have reached their threshold on a bill that is not final, once for each period and threshold.
WITH quantities AS (
    -- A meter may have several lines. What doesn't add up is the highest of them; a level's are shares of the whole cycle.
    SELECT
        lines.team_id, lines.subscription_key, lines.period_start, lines.meter_id,
        CASE
            WHEN meters.aggregation IN ('count', 'sum', 'bucketed_sum', 'weighted_sum') THEN sum(lines.quantity)
            ELSE max(lines.quantity)
        END AS quantity
    FROM marts.fct_bill_lines AS lines
    JOIN billing.meters AS meters USING (meter_id)
    WHERE lines.kind = 'usage'
    GROUP BY lines.team_id, lines.subscription_key, lines.period_start, lines.meter_id, meters.aggregation
),
measured AS (
    SELECT
        alerts.team_id, alerts.alert_key, bills.subscription_key, bills.period_start, bills.period_label, bills.team_key,
        alerts.threshold,
        CASE alerts.measure WHEN 'amount' THEN bills.total ELSE quantities.quantity END AS observed
    FROM billing.alerts AS alerts
    JOIN marts.fct_bills AS bills USING (team_id)
    LEFT JOIN quantities
        ON quantities.team_id = bills.team_id AND quantities.subscription_key = bills.subscription_key
        AND quantities.period_start = bills.period_start AND quantities.meter_id = alerts.meter_id
    -- An alert says nothing about periods that had ended when it was made.
    WHERE alerts.active AND bills.status <> 'finalized' AND bills.period_end > alerts.created_at
),
triggered AS (
    INSERT INTO billing.alert_events (team_id, alert_key, subscription_key, period_start, threshold, observed)
    SELECT team_id, alert_key, subscription_key, period_start, threshold, observed
    FROM measured
    WHERE observed >= threshold
    ON CONFLICT (team_id, alert_key, subscription_key, period_start, threshold) DO NOTHING
    RETURNING team_id, alert_key, subscription_key, period_start
)
SELECT measured.team_key, measured.alert_key, measured.period_label
FROM triggered
JOIN measured USING (team_id, alert_key, subscription_key, period_start)
ORDER BY 1, 2, 3;

-- name: pending
-- What triggered and has not reached all of its channels, those tried least often first.
SELECT
    events.team_id, teams.team_key, events.alert_key, events.subscription_key, events.period_start, periods.period_end,
    periods.period_label, events.threshold, events.observed, events.triggered_at,
    alerts.measure, alerts.severity, alerts.channels, meters.meter_key, coalesce(meters.unit, periods.currency) AS unit
FROM billing.alert_events AS events
JOIN billing.alerts AS alerts USING (team_id, alert_key)
JOIN billing.teams AS teams USING (team_id)
JOIN billing.billing_periods AS periods USING (team_id, subscription_key, period_start)
LEFT JOIN billing.meters AS meters ON meters.meter_id = alerts.meter_id AND alerts.measure = 'quantity'
WHERE events.delivered_at IS NULL
ORDER BY events.attempts, events.triggered_at, events.team_id, events.alert_key
LIMIT %(at_most)s;

-- name: record_attempt
-- What came of delivering an alert once.
UPDATE billing.alert_events
SET
    attempts = attempts + 1,
    delivery_error = %(error)s,
    delivered_at = CASE WHEN %(error)s::text IS NULL THEN clock_timestamp() END
WHERE team_id = %(team_id)s AND alert_key = %(alert_key)s AND subscription_key = %(subscription_key)s
    AND period_start = %(period_start)s AND threshold = %(threshold)s AND delivered_at IS NULL;
