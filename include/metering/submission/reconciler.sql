-- name: periods
-- Each team, meter and billing period with submissions or targets, as our side has it. A window belongs to the period in
-- which its events are stamped, as at Stripe. Periods that ended long ago and were last seen equal are read no more,
-- since Stripe takes no usage for them; with `accepted_only`, only those with something to confirm are.
WITH windows AS (
    SELECT state.*, period.subscription_key, period.period_start, period.period_end,
        state.target_quantity <> state.ledger_quantity AS in_debt
    FROM billing.stripe_window_states AS state
    JOIN billing.billing_periods AS period
      ON period.team_id = state.team_id AND state.event_at >= period.period_start AND state.event_at < period.period_end
      AND period.takes_usage
    -- What a customer has that was deleted, and whose invoice was final then, can't be read any more.
    WHERE state.closed_at IS NULL OR NOT EXISTS (
        SELECT FROM billing.stripe_customers AS customer
        WHERE customer.team_id = state.team_id AND customer.replaced_at >= state.closed_at)
), periods AS (
    SELECT
        team_id, meter_id, subscription_key, period_start, period_end,
        sum(ledger_quantity) AS ledger_quantity,
        sum(open_quantity) AS open_quantity,
        sum(target_quantity) AS target_quantity,
        bool_or(in_debt) AS in_debt,
        bool_or(in_debt AND held_code = 'refused') AS refused,
        bool_or(in_debt AND (held_code IS NOT NULL OR closed_at IS NOT NULL)) AS held
    FROM windows
    GROUP BY team_id, meter_id, subscription_key, period_start, period_end
)
SELECT
    periods.*, customer.stripe_customer_id, meter.stripe_meter_id, teams.team_key, meters.meter_key,
    EXISTS (SELECT FROM billing.holds WHERE holds.team_id = periods.team_id AND released_at IS NULL) AS team_held
FROM periods
JOIN billing.stripe_customers AS customer USING (team_id)
JOIN billing.stripe_meters AS meter USING (meter_id)
JOIN billing.teams USING (team_id)
JOIN billing.meters USING (meter_id)
WHERE CASE
    WHEN %(accepted_only)s THEN EXISTS (
        SELECT FROM billing.stripe_submissions AS submission
        JOIN billing.stripe_windows AS address USING (team_id, meter_id, window_start, window_end, dimensions)
        WHERE submission.team_id = periods.team_id AND submission.meter_id = periods.meter_id
          AND submission.state = 'accepted'
          AND address.event_at >= periods.period_start AND address.event_at < periods.period_end)
    ELSE periods.period_end > %(now)s - interval '45 days' OR coalesce((
        SELECT seen.verdict <> 'equal' OR seen.ledger_quantity <> periods.ledger_quantity
        FROM billing.stripe_observations AS seen
        WHERE (seen.team_id, seen.meter_id, seen.subscription_key, seen.period_start)
            = (periods.team_id, periods.meter_id, periods.subscription_key, periods.period_start)
        ORDER BY seen.observed_at DESC LIMIT 1), true)
    END
ORDER BY team_id, meter_id, subscription_key, period_start;

-- name: unsettled
-- What could explain a difference in a period: submissions of unknown outcome, accepted within the last hour and not yet
-- confirmed, or given up as missing.
SELECT submission.identifier, submission.state, submission.quantity
FROM billing.stripe_submissions AS submission
JOIN billing.stripe_windows AS address USING (team_id, meter_id, window_start, window_end, dimensions)
WHERE submission.team_id = %(team_id)s AND submission.meter_id = %(meter_id)s
  AND address.event_at >= %(period_start)s AND address.event_at < %(period_end)s
  AND (submission.state IN ('in_flight', 'uncertain', 'missing')
       OR submission.state = 'accepted' AND submission.accepted_at > %(now)s - interval '1 hour')
ORDER BY submission.identifier;

-- name: ledger
-- What the ledger of a period says now.
SELECT coalesce(sum(submission.quantity), 0) AS quantity
FROM billing.stripe_submissions AS submission
JOIN billing.stripe_windows AS address USING (team_id, meter_id, window_start, window_end, dimensions)
WHERE submission.team_id = %(team_id)s AND submission.meter_id = %(meter_id)s
  AND address.event_at >= %(period_start)s AND address.event_at < %(period_end)s
  AND submission.state IN ('accepted', 'confirmed');

-- name: confirm
-- Where Stripe's total of a period equals the ledger's, and the ledger is still the one it was compared with, everything
-- accepted in that period is confirmed.
WITH reading AS (
    SELECT * FROM unnest(
        %(team_id)s::integer[], %(meter_id)s::integer[], %(period_start)s::timestamptz[], %(period_end)s::timestamptz[],
        %(ledger_quantity)s::numeric[]
    ) AS r (team_id, meter_id, period_start, period_end, ledger_quantity)
), taken AS (
    SELECT reading.team_id, reading.meter_id, submission.identifier, submission.state,
        sum(submission.quantity) OVER (PARTITION BY reading.team_id, reading.meter_id, reading.period_start,
            reading.period_end) = reading.ledger_quantity AS unchanged
    FROM reading
    JOIN billing.stripe_windows AS address
      ON address.team_id = reading.team_id AND address.meter_id = reading.meter_id
     AND address.event_at >= reading.period_start AND address.event_at < reading.period_end
    JOIN billing.stripe_submissions AS submission
      ON (submission.team_id, submission.meter_id, submission.window_start, submission.window_end, submission.dimensions)
       = (address.team_id, address.meter_id, address.window_start, address.window_end, address.dimensions)
    WHERE submission.state IN ('accepted', 'confirmed')
)
UPDATE billing.stripe_submissions AS submission
SET state = 'confirmed', confirmed_at = clock_timestamp()
FROM taken
WHERE (submission.team_id, submission.identifier) = (taken.team_id, taken.identifier)
  AND taken.unchanged AND submission.state = 'accepted';

-- name: surface
-- Submissions that were given up as missing and are at Stripe after all: they count again.
UPDATE billing.stripe_submissions
SET state = 'confirmed', confirmed_at = clock_timestamp()
WHERE team_id = %(team_id)s AND identifier = ANY (%(identifiers)s) AND state = 'missing';

-- name: observe
-- What Stripe said, beside our ledger, and what we make of it.
INSERT INTO billing.stripe_observations
    (team_id, meter_id, subscription_key, period_start,
     stripe_quantity, ledger_quantity, open_quantity, target_quantity, verdict)
SELECT * FROM unnest(
    %(team_id)s::integer[], %(meter_id)s::integer[], %(subscription_key)s::text[], %(period_start)s::timestamptz[],
    %(stripe_quantity)s::numeric[], %(ledger_quantity)s::numeric[], %(open_quantity)s::numeric[],
    %(target_quantity)s::numeric[], %(verdict)s::text[]);

-- name: hold
-- Put a team on hold for a difference that nothing explains.
INSERT INTO billing.holds (team_id, hold_key, gate, reason)
VALUES (%(team_id)s, %(hold_key)s, 'stripe_reconciliation', %(reason)s)
ON CONFLICT DO NOTHING;

-- name: lift
-- The difference is gone or explained: the hold that it caused ends.
UPDATE billing.holds
SET released_at = clock_timestamp(), released_by = 'stripe reconciliation'
WHERE team_id = %(team_id)s AND hold_key = %(hold_key)s AND released_at IS NULL;

-- name: holds_in_force
-- The holds that reconciliation has put.
SELECT team_id, hold_key FROM billing.holds WHERE gate = 'stripe_reconciliation' AND released_at IS NULL;
