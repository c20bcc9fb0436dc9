-- name: latest
-- Up to when reports were read.
SELECT max(created_at) AS created_at FROM billing.stripe_error_reports;

-- name: keep
-- Keep a report; one that is known already changes nothing.
INSERT INTO billing.stripe_error_reports
    (event_id, code, event_type, stripe_meter_id, error_count, samples, validation_start, validation_end, created_at)
VALUES (%(event_id)s, %(code)s, %(event_type)s, %(stripe_meter_id)s, %(error_count)s, %(samples)s, %(validation_start)s,
    %(validation_end)s, %(created_at)s)
ON CONFLICT DO NOTHING;

-- name: doubtful
-- What Stripe accepted and no total has confirmed, and a report is about: it is among the samples, or was sent to that meter at
-- that time. With the span in which its window's events are stamped, and what the ledger has there.
WITH sampled AS (
    SELECT DISTINCT ON (identifier) identifier, code, message
    FROM (
        SELECT regexp_replace(sample ->> 'idempotency_key', ':k[0-9]+$', '') AS identifier, report.code,
            sample ->> 'message' AS message, report.validation_start
        FROM billing.stripe_error_reports AS report
        CROSS JOIN jsonb_array_elements(report.samples) AS sample
    ) AS each_one
    ORDER BY identifier, validation_start DESC
), doubtful AS (
    SELECT submission.team_id, submission.meter_id, submission.window_start, submission.window_end, submission.dimensions,
        submission.identifier, submission.quantity, submission.accepted_at, meter.stripe_meter_id,
        sampled.identifier IS NOT NULL AS is_sampled,
        coalesce(sampled.code, near.code) AS code, coalesce(sampled.message, near.message) AS message
    FROM billing.stripe_submissions AS submission
    JOIN billing.stripe_meters AS meter USING (meter_id)
    LEFT JOIN sampled USING (identifier)
    LEFT JOIN LATERAL (
        SELECT report.code, report.samples -> 0 ->> 'message' AS message
        FROM billing.stripe_error_reports AS report
        WHERE sampled.identifier IS NULL
          AND (report.stripe_meter_id = meter.stripe_meter_id OR report.stripe_meter_id IS NULL)
          AND report.validation_end >= submission.first_attempt_at - interval '1 minute'
          AND report.validation_start <= submission.accepted_at + interval '1 hour'
        ORDER BY report.validation_start
        LIMIT 1
    ) AS near ON true
    WHERE submission.state = 'accepted' AND (sampled.identifier IS NOT NULL OR near.code IS NOT NULL)
)
SELECT
    doubtful.*, customer.stripe_customer_id,
    date_trunc('minute', address.event_at) - interval '1 minute' AS begin,
    date_trunc('minute', address.event_at) + interval '2 minutes' AS until,
    (
        SELECT coalesce(sum(other.quantity), 0)
        FROM billing.stripe_submissions AS other
        JOIN billing.stripe_windows AS place USING (team_id, meter_id, window_start, window_end, dimensions)
        WHERE other.team_id = doubtful.team_id AND other.meter_id = doubtful.meter_id
          AND other.state IN ('accepted', 'confirmed')
          AND place.event_at >= date_trunc('minute', address.event_at) - interval '1 minute'
          AND place.event_at < date_trunc('minute', address.event_at) + interval '2 minutes'
    ) AS ledger_quantity
FROM doubtful
JOIN billing.stripe_windows AS address USING (team_id, meter_id, window_start, window_end, dimensions)
JOIN billing.stripe_customers AS customer USING (team_id)
ORDER BY doubtful.team_id, doubtful.meter_id, doubtful.window_start, doubtful.is_sampled DESC, doubtful.identifier;

-- name: hold_reported
-- Until Stripe's total can be believed, nothing more is sent for the window of a sample.
UPDATE billing.stripe_windows AS address
SET held_code = 'reported', held_at = clock_timestamp(), held_reason = named.reason
FROM billing.stripe_submissions AS submission
JOIN unnest(%(team_id)s::integer[], %(identifier)s::text[], %(reason)s::text[]) AS named (team_id, identifier, reason)
    USING (team_id, identifier)
WHERE submission.state = 'accepted'
  AND (address.team_id, address.meter_id, address.window_start, address.window_end, address.dimensions)
    = (submission.team_id, submission.meter_id, submission.window_start, submission.window_end, submission.dimensions)
  AND address.held_code IS DISTINCT FROM 'reported' AND address.held_code IS DISTINCT FROM 'refused';

-- name: end_decided
-- A window none of whose submissions is unconfirmed has nothing left that could be decided.
UPDATE billing.stripe_windows AS address
SET held_code = NULL, held_at = NULL, held_reason = NULL
WHERE address.held_code = 'reported'
  AND NOT EXISTS (
      SELECT FROM billing.stripe_submissions AS submission
      WHERE (submission.team_id, submission.meter_id, submission.window_start, submission.window_end, submission.dimensions)
          = (address.team_id, address.meter_id, address.window_start, address.window_end, address.dimensions)
        AND submission.state = 'accepted');

-- name: let_go
-- Stripe's total has what was reported: the hold ends.
UPDATE billing.stripe_windows AS address
SET held_code = NULL, held_at = NULL, held_reason = NULL
FROM billing.stripe_submissions AS submission
JOIN unnest(%(team_id)s::integer[], %(identifier)s::text[]) AS named (team_id, identifier) USING (team_id, identifier)
WHERE (address.team_id, address.meter_id, address.window_start, address.window_end, address.dimensions)
    = (submission.team_id, submission.meter_id, submission.window_start, submission.window_end, submission.dimensions)
  AND address.held_code = 'reported';

-- name: refuse
-- Stripe's total lacks what a report is about: it never counted. Its window is held for the reason; where the reason is the
-- customer or the meter, planning sees by itself when it is mended, unless the same happened to this window before.
WITH refused AS (
    UPDATE billing.stripe_submissions AS submission
    SET state = 'rejected', error_code = named.code, error_message = named.reason
    FROM unnest(%(team_id)s::integer[], %(identifier)s::text[], %(code)s::text[], %(reason)s::text[])
        AS named (team_id, identifier, code, reason)
    WHERE (submission.team_id, submission.identifier) = (named.team_id, named.identifier) AND submission.state = 'accepted'
    RETURNING submission.team_id, submission.meter_id, submission.window_start, submission.window_end, submission.dimensions,
        submission.identifier, submission.error_code, submission.error_message
), held AS (
    SELECT DISTINCT ON (team_id, meter_id, window_start, window_end, dimensions)
        refused.*,
        CASE
            WHEN EXISTS (
                SELECT FROM billing.stripe_submissions AS earlier
                WHERE (earlier.team_id, earlier.meter_id, earlier.window_start, earlier.window_end, earlier.dimensions)
                    = (refused.team_id, refused.meter_id, refused.window_start, refused.window_end, refused.dimensions)
                  AND earlier.state = 'rejected' AND earlier.error_code = refused.error_code
            ) THEN 'refused'
            WHEN error_code = 'meter_event_customer_not_found' THEN 'customer_missing'
            WHEN error_code IN ('archived_meter', 'no_meter') THEN 'meter_archived'
            ELSE 'refused'
        END AS held_code
    FROM refused
    ORDER BY team_id, meter_id, window_start, window_end, dimensions, identifier
)
UPDATE billing.stripe_windows AS address
SET held_code = held.held_code, held_at = clock_timestamp(), held_reason = held.error_message
FROM held
WHERE (address.team_id, address.meter_id, address.window_start, address.window_end, address.dimensions)
    = (held.team_id, held.meter_id, held.window_start, held.window_end, held.dimensions);
