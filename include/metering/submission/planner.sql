-- name: is_built
-- Whether the mart that planning reads is there.
SELECT to_regclass('marts.fct_stripe_usage') IS NOT NULL AS is_built;

-- name: take_turn
-- Planners and those who decide unknown outcomes take turns, until the end of the transaction.
SELECT pg_advisory_xact_lock(7101);

-- name: record_windows
-- A window for each that the mart has and we do not. The moment stamped on its events is its middle, in whole seconds.
INSERT INTO billing.stripe_windows (team_id, meter_id, dimensions, window_start, window_end, event_at)
SELECT team_id, meter_id, dimensions, window_start, window_end,
       date_trunc('second', window_start + (window_end - window_start) / 2)
FROM marts.fct_stripe_usage AS usage
WHERE quantity <> 0
  AND NOT EXISTS (
      SELECT FROM billing.stripe_windows AS address
      WHERE (address.team_id, address.meter_id, address.window_start, address.window_end, address.dimensions)
          = (usage.team_id, usage.meter_id, usage.window_start, usage.window_end, usage.dimensions)
  )
ORDER BY team_id, meter_id, window_start;

-- name: record_targets
-- A revision of the target for each window whose quantity in the mart is another than the last we recorded.
INSERT INTO billing.stripe_targets (team_id, meter_id, dimensions, window_start, window_end, revision, quantity)
SELECT team_id, meter_id, dimensions, window_start, window_end, coalesce(last.revision, 0) + 1, usage.quantity
FROM marts.fct_stripe_usage AS usage
JOIN billing.stripe_windows AS address USING (team_id, meter_id, dimensions, window_start, window_end)
LEFT JOIN LATERAL (
    SELECT target.revision, target.quantity
    FROM billing.stripe_targets AS target
    WHERE (target.team_id, target.meter_id, target.window_start, target.window_end, target.dimensions)
        = (address.team_id, address.meter_id, address.window_start, address.window_end, address.dimensions)
    ORDER BY target.revision DESC
    LIMIT 1
) AS last ON true
WHERE usage.quantity IS DISTINCT FROM last.quantity
ORDER BY team_id, meter_id, window_start;

-- name: record_vanished
-- Target zero for each window that the mart has no more: its usage was withdrawn, or its period was cut anew.
INSERT INTO billing.stripe_targets (team_id, meter_id, dimensions, window_start, window_end, revision, quantity)
SELECT team_id, meter_id, dimensions, window_start, window_end, last.revision + 1, 0
FROM billing.stripe_windows AS address
CROSS JOIN LATERAL (
    SELECT target.revision, target.quantity
    FROM billing.stripe_targets AS target
    WHERE (target.team_id, target.meter_id, target.window_start, target.window_end, target.dimensions)
        = (address.team_id, address.meter_id, address.window_start, address.window_end, address.dimensions)
    ORDER BY target.revision DESC
    LIMIT 1
) AS last
WHERE last.quantity <> 0
  AND NOT EXISTS (
      SELECT FROM marts.fct_stripe_usage AS usage
      WHERE (usage.team_id, usage.meter_id, usage.window_start, usage.window_end, usage.dimensions)
          = (address.team_id, address.meter_id, address.window_start, address.window_end, address.dimensions)
  );

-- name: withdraw_overdue
-- Take back what was planned, never attempted, and is now too old for Stripe: nothing can have happened to it.
UPDATE billing.stripe_submissions AS submission
SET state = 'cancelled', error_message = 'Became older than Stripe takes before it could be sent.'
FROM billing.stripe_windows AS address
WHERE submission.state = 'pending'
  AND (submission.team_id, submission.meter_id, submission.window_start, submission.window_end, submission.dimensions)
    = (address.team_id, address.meter_id, address.window_start, address.window_end, address.dimensions)
  AND address.event_at < %(oldest)s;

-- name: find_owed
-- What each window owes Stripe and what, if anything, is in the way; for the statements that follow in this transaction.
-- A significant digit is one from the first that is not zero; Stripe takes 15, of an event and of the total it keeps.
CREATE TEMPORARY TABLE stripe_owed ON COMMIT DROP AS
WITH too_wide AS (
    SELECT team_id, meter_id, dimensions, subscription_key, period_start
    FROM marts.fct_stripe_usage
    GROUP BY team_id, meter_id, dimensions, subscription_key, period_start
    HAVING length(ltrim(replace(round(abs(sum(quantity)), max(scale(trim_scale(quantity))))::text, '.', ''), '0')) > 15
), owing AS (
    SELECT *, target_quantity - ledger_quantity - open_quantity AS quantity
    FROM billing.stripe_window_states
    WHERE target_quantity <> ledger_quantity + open_quantity
)
SELECT
    owing.team_id, owing.meter_id, owing.dimensions, owing.window_start, owing.window_end, owing.event_at,
    owing.quantity, owing.is_open, owing.last_sequence + 1 AS sequence,
    CASE
        WHEN owing.closed_at IS NOT NULL THEN NULL
        WHEN owing.held_code IN ('refused', 'reported') THEN owing.held_code
        WHEN owing.event_at < %(oldest)s THEN 'too_old'
        WHEN owing.target_quantity < 0 THEN 'negative'
        WHEN length(ltrim(replace(trim_scale(abs(owing.quantity))::text, '.', ''), '0')) > 15
             OR too_wide.team_id IS NOT NULL THEN 'too_many_digits'
        WHEN customer.missing_since IS NOT NULL THEN 'customer_missing'
        WHEN meter.archived_since IS NOT NULL THEN 'meter_archived'
    END AS held_code,
    (owing.closed_at IS NULL
     AND owing.event_at <= %(now)s
     AND customer.team_id IS NOT NULL
     AND meter.meter_id IS NOT NULL
     AND NOT EXISTS (
         SELECT FROM billing.holds WHERE holds.team_id = owing.team_id AND holds.released_at IS NULL
     )) AS can_be_sent,
    (owing.closed_at IS NULL AND owing.event_at > %(now)s) AS not_yet,
    customer.stripe_customer_id, meter.event_name
FROM owing
LEFT JOIN billing.stripe_customers AS customer USING (team_id)
LEFT JOIN billing.stripe_meters AS meter USING (meter_id)
LEFT JOIN marts.fct_stripe_usage AS usage USING (team_id, meter_id, dimensions, window_start, window_end)
LEFT JOIN too_wide USING (team_id, meter_id, dimensions, subscription_key, period_start);

-- name: lift_holds
-- Windows whose obstacle is gone are held no more. A refusal stays until somebody releases it, a report until it is decided.
UPDATE billing.stripe_windows AS address
SET held_code = NULL, held_reason = NULL, held_at = NULL
WHERE address.held_code NOT IN ('refused', 'reported')
  AND NOT EXISTS (
      SELECT FROM stripe_owed AS owed
      WHERE (owed.team_id, owed.meter_id, owed.window_start, owed.window_end, owed.dimensions)
          = (address.team_id, address.meter_id, address.window_start, address.window_end, address.dimensions)
        AND owed.held_code IS NOT NULL
  );

-- name: hold
-- Windows that owe something which Stripe would not take are held, each with its reason.
UPDATE billing.stripe_windows AS address
SET held_code = owed.held_code,
    held_at = CASE WHEN address.held_code = owed.held_code THEN address.held_at ELSE clock_timestamp() END,
    held_reason = CASE owed.held_code
        WHEN 'too_old' THEN 'Stripe takes no usage older than 35 days, and ' || trim_scale(owed.quantity) || ' are not sent.'
        WHEN 'negative' THEN 'The total of the window would be negative, which no invoice can show.'
        WHEN 'too_many_digits' THEN
            'The quantity or its period''s total has more than the 15 digits that Stripe keeps exactly.'
        WHEN 'customer_missing' THEN 'The team''s customer was deleted at Stripe.'
        WHEN 'meter_archived' THEN 'The meter is deactivated at Stripe.'
    END
FROM stripe_owed AS owed
WHERE (owed.team_id, owed.meter_id, owed.window_start, owed.window_end, owed.dimensions)
    = (address.team_id, address.meter_id, address.window_start, address.window_end, address.dimensions)
  AND owed.held_code IS NOT NULL
  AND owed.held_code NOT IN ('refused', 'reported')
  AND address.held_code IS DISTINCT FROM owed.held_code;

-- name: add_submissions
-- One submission of the difference for each window that owes something, can be sent and has none open. The identifier says
-- which window, which in turn, and what: the same identifier always means the same payload. What was sent before the ledger's
-- last adoption may have had the same turns, so that the epoch is named too.
WITH sendable AS MATERIALIZED (
    SELECT
        owed.*,
        jsonb_build_object(
            'event_name', event_name,
            'timestamp', extract(epoch FROM event_at)::bigint,
            'payload', dimensions || jsonb_build_object(
                'stripe_customer_id', stripe_customer_id, 'value', trim_scale(quantity)::text)
        ) AS payload
    FROM stripe_owed AS owed
    WHERE can_be_sent AND held_code IS NULL AND NOT is_open
)
INSERT INTO billing.stripe_submissions
    (team_id, meter_id, dimensions, window_start, window_end, sequence, quantity, payload, identifier)
SELECT
    team_id, meter_id, dimensions, window_start, window_end, sequence, quantity, payload,
    'mb1-' || left(encode(sha256(convert_to(concat_ws('|',
        stripe_customer_id, event_name, extract(epoch FROM window_start)::bigint, extract(epoch FROM window_end)::bigint,
        dimensions::text), 'UTF8')), 'hex'), 32)
    || CASE WHEN epoch = 0 THEN '' ELSE '-e' || epoch END || '-s' || sequence
    || '-' || left(encode(sha256(convert_to(payload::text, 'UTF8')), 'hex'), 16)
FROM sendable
CROSS JOIN (SELECT epoch FROM billing.stripe_ledger) AS ledger
ORDER BY team_id, meter_id, window_start;

-- name: count_owed
-- What planning found, in numbers of windows.
SELECT
    count(*) FILTER (WHERE held_code IS NOT NULL) AS held,
    count(*) FILTER (WHERE held_code IS NULL AND not_yet) AS not_yet,
    count(*) FILTER (WHERE held_code IS NULL AND is_open AND NOT not_yet) AS waiting,
    count(*) FILTER (WHERE held_code IS NULL AND NOT can_be_sent AND NOT not_yet) AS stopped
FROM stripe_owed;

-- name: is_billed
-- Whether there are bills from which a value can be told.
SELECT to_regclass('marts.fct_bill_lines') IS NOT NULL AS is_billed;

-- name: values
-- What is waiting to be sent is worth, by team, meter and currency: of what the period's bill charges for the meter's usage, the
-- share that its quantity has in the period's. Of usage that the bill does not know there is no value.
WITH waiting AS (
    SELECT submission.team_id, submission.meter_id, period.subscription_key, period.period_start,
        sum(submission.quantity) AS quantity
    FROM billing.stripe_submissions AS submission
    JOIN billing.stripe_windows AS address USING (team_id, meter_id, window_start, window_end, dimensions)
    JOIN billing.billing_periods AS period
      ON period.team_id = submission.team_id AND period.takes_usage
     AND address.event_at >= period.period_start AND address.event_at < period.period_end
    WHERE submission.state IN ('pending', 'in_flight', 'uncertain')
    GROUP BY 1, 2, 3, 4
), metered AS (
    SELECT team_id, meter_id, subscription_key, period_start, sum(quantity) AS quantity
    FROM marts.fct_stripe_usage
    GROUP BY 1, 2, 3, 4
), billed AS (
    SELECT team_id, meter_id, subscription_key, about_period_start AS period_start, currency,
        sum(exact_amount) AS amount
    FROM marts.fct_bill_lines
    WHERE kind = 'usage' AND meter_id IS NOT NULL
    GROUP BY 1, 2, 3, 4, 5
)
SELECT team_key, meter_key, billed.currency,
    round(sum(billed.amount * waiting.quantity / nullif(metered.quantity, 0)), currencies.exponent) AS value
FROM waiting
JOIN metered USING (team_id, meter_id, subscription_key, period_start)
JOIN billed USING (team_id, meter_id, subscription_key, period_start)
JOIN billing.currencies AS currencies ON currencies.currency = billed.currency
JOIN billing.teams USING (team_id)
JOIN billing.meters USING (meter_id)
GROUP BY team_key, meter_key, billed.currency, currencies.exponent
ORDER BY team_key, meter_key, billed.currency;

-- name: planned_by_team
-- What is waiting to be sent, by team and meter.
SELECT team_key, meter_key, count(*) AS submissions, trim_scale(sum(submission.quantity)) AS quantity,
       min(window_start) AS first_window, max(window_end) AS last_window
FROM billing.stripe_submissions AS submission
JOIN billing.teams USING (team_id)
JOIN billing.meters USING (meter_id)
WHERE state IN ('pending', 'in_flight', 'uncertain')
GROUP BY team_key, meter_key
ORDER BY team_key, meter_key;

-- name: pretend_customers
-- For a preview that is rolled back: as if every team had its customer.
INSERT INTO billing.stripe_customers (team_id, stripe_customer_id)
SELECT team_id, 'to be made: ' || team_key FROM billing.teams
ON CONFLICT DO NOTHING;

-- name: pretend_meters
-- For a preview that is rolled back: as if every meter had its counterpart.
INSERT INTO billing.stripe_meters (meter_id, stripe_meter_id, event_name)
SELECT meter_id, 'to be made: ' || meter_key, meter_key FROM billing.meters
ON CONFLICT DO NOTHING;

-- name: release
-- Let a team's refused windows be planned again, of all its meters or of one.
UPDATE billing.stripe_windows AS address
SET held_code = NULL, held_reason = NULL, held_at = NULL
FROM billing.teams, billing.meters
WHERE address.held_code = 'refused'
  AND teams.team_id = address.team_id AND teams.team_key = %(team_key)s
  AND meters.meter_id = address.meter_id
  AND (%(meter_key)s::text IS NULL OR meters.meter_key = %(meter_key)s);

-- name: analyze_ledger
-- Many rows were just added.
ANALYZE billing.stripe_windows, billing.stripe_submissions;
