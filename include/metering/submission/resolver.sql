-- name: undecided
-- Submissions whose outcome is unknown and that are too old to be sent again, with the span in which their window's events
-- are stamped: two minutes around the moment, so that no other window's events are in it, and no edge is near.
SELECT
    submission.team_id, submission.meter_id, submission.identifier, submission.quantity, submission.attempts,
    customer.stripe_customer_id, meter.stripe_meter_id,
    date_trunc('minute', address.event_at) - interval '1 minute' AS begin,
    date_trunc('minute', address.event_at) + interval '2 minutes' AS until,
    (
        SELECT coalesce(sum(other.quantity), 0)
        FROM billing.stripe_submissions AS other
        JOIN billing.stripe_windows AS place USING (team_id, meter_id, window_start, window_end, dimensions)
        WHERE other.team_id = submission.team_id AND other.meter_id = submission.meter_id
          AND other.state IN ('accepted', 'confirmed')
          AND place.event_at >= date_trunc('minute', address.event_at) - interval '1 minute'
          AND place.event_at < date_trunc('minute', address.event_at) + interval '2 minutes'
    ) AS ledger_quantity
FROM billing.stripe_submissions AS submission
JOIN billing.stripe_windows AS address USING (team_id, meter_id, window_start, window_end, dimensions)
JOIN billing.stripe_customers AS customer USING (team_id)
JOIN billing.stripe_meters AS meter USING (meter_id)
WHERE submission.state IN ('uncertain', 'in_flight')
  AND submission.first_attempt_at <= %(resend_after)s
  AND billing.lease_is_over(submission.lease_owner, submission.lease_until)
ORDER BY submission.team_id, submission.meter_id, submission.window_start;

-- name: decide
-- What Stripe's summary decided: it is there (confirmed), or was not for a day (missing), or is not seen yet.
WITH reading AS (
    SELECT * FROM unnest(
        %(team_id)s::integer[], %(identifier)s::text[], %(attempts)s::integer[], %(there)s::boolean[], %(absent)s::boolean[]
    ) AS r (team_id, identifier, attempts, there, absent)
)
UPDATE billing.stripe_submissions AS submission
SET state = CASE
        WHEN reading.there THEN 'confirmed'
        WHEN reading.absent AND submission.absent_since <= %(now)s - interval '24 hours' THEN 'missing'
        ELSE 'uncertain'
    END,
    confirmed_at = CASE WHEN reading.there THEN clock_timestamp() END,
    absent_since = CASE WHEN reading.absent THEN coalesce(submission.absent_since, %(now)s) END,
    lease_owner = NULL,
    lease_until = NULL
FROM reading
WHERE (submission.team_id, submission.identifier) = (reading.team_id, reading.identifier)
  AND submission.state IN ('uncertain', 'in_flight') AND submission.attempts = reading.attempts
RETURNING submission.state;
