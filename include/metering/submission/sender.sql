-- name: who_am_i
-- This session's name as the owner of leases. Another process sees from pg_stat_activity when it is gone.
SELECT pid || '@' || extract(epoch FROM backend_start) AS owner FROM pg_stat_activity WHERE pid = pg_backend_pid();

-- name: begin_sending
-- Any number may send at once; whoever moves the emulator's clock waits until none does, since what is on its way was found
-- due by the clock as it was.
SELECT pg_advisory_lock_shared(7104);

-- name: end_sending
-- As above.
SELECT pg_advisory_unlock_shared(7104);

-- name: claim
-- One at a time (marks.take_turn), so that two submitters never take the same customer and meter. Take what is due, at most a few of each customer and meter, journal an attempt of each, and return what to send. A
-- customer and meter with something in flight is left to whoever has it. What was left in flight by a session that is gone
-- may have had its effect: its first attempt counts on, as it does for what is uncertain. Nothing is sent again 20 hours
-- after that, because Stripe may by then have forgotten the identifier; and what has become too old for Stripe since it was
-- planned is left for planning to take back.
WITH abandoned AS (
    SELECT team_id, identifier
    FROM billing.stripe_submissions
    WHERE state = 'in_flight' AND billing.lease_is_over(lease_owner, lease_until)
), busy AS (
    SELECT DISTINCT team_id, meter_id
    FROM billing.stripe_submissions
    WHERE state = 'in_flight' AND (team_id, identifier) NOT IN (SELECT team_id, identifier FROM abandoned)
), due AS MATERIALIZED (
    -- The time of the event is in the payload, so that the first of the index are found without looking at all that wait.
    SELECT team_id, meter_id, identifier, attempts, window_start, sequence
    FROM billing.stripe_submissions
    WHERE state IN ('pending', 'in_flight', 'uncertain')
      AND (state <> 'in_flight' OR (team_id, identifier) IN (SELECT team_id, identifier FROM abandoned))
      AND (not_before IS NULL OR not_before <= clock_timestamp())
      AND (first_attempt_at IS NULL OR first_attempt_at > %(resend_after)s)
      AND (payload ->> 'timestamp')::bigint <= extract(epoch FROM %(now)s::timestamptz)
      AND (state <> 'pending' OR (payload ->> 'timestamp')::bigint >= extract(epoch FROM %(oldest)s::timestamptz))
      AND (team_id, meter_id) NOT IN (SELECT team_id, meter_id FROM busy)
      AND team_id NOT IN (SELECT team_id FROM billing.holds WHERE released_at IS NULL)
    ORDER BY not_before NULLS FIRST
    LIMIT %(most)s * 8
), chosen AS MATERIALIZED (
    SELECT team_id, identifier, attempts
    FROM (SELECT *, row_number() OVER (PARTITION BY team_id, meter_id ORDER BY window_start, sequence) AS turn FROM due) AS turns
    WHERE turn <= %(at_once)s
    ORDER BY turn, team_id
    LIMIT %(most)s
), locked AS MATERIALIZED (
    SELECT submission.team_id, submission.identifier
    FROM chosen
    CROSS JOIN LATERAL (
        SELECT one.team_id, one.identifier
        FROM billing.stripe_submissions AS one
        WHERE (one.team_id, one.identifier, one.attempts) = (chosen.team_id, chosen.identifier, chosen.attempts)
          AND one.state IN ('pending', 'in_flight', 'uncertain')
        FOR UPDATE SKIP LOCKED
    ) AS submission
), claimed AS (
    UPDATE billing.stripe_submissions AS submission
    SET state = 'in_flight',
        attempts = submission.attempts + 1,
        first_attempt_at = coalesce(submission.first_attempt_at, %(now)s),
        last_attempt_at = %(now)s,
        api_version = CASE
            WHEN submission.first_attempt_at IS NULL THEN %(version)s ELSE coalesce(submission.api_version, 'v1')
        END,
        not_before = NULL,
        lease_owner = %(owner)s,
        lease_until = clock_timestamp() + %(lease)s
    FROM locked
    JOIN billing.stripe_submissions AS earlier USING (team_id, identifier)
    WHERE (submission.team_id, submission.identifier) = (locked.team_id, locked.identifier)
    RETURNING submission.team_id, submission.meter_id, submission.identifier, submission.attempts AS attempt,
        submission.server_errors, submission.payload, submission.api_version, submission.window_start, submission.sequence,
        earlier.first_attempt_at IS NOT NULL AS ambiguous
), journalled AS (
    INSERT INTO billing.stripe_attempts (team_id, identifier, attempt, idempotency_key)
    SELECT team_id, identifier, attempt, identifier || ':k' || server_errors FROM claimed
)
SELECT team_id, meter_id, identifier, attempt, identifier || ':k' || server_errors AS idempotency_key, payload, api_version,
    ambiguous
FROM claimed
ORDER BY team_id, meter_id, window_start, sequence;

-- name: settle
-- Write what became of attempts, a batch at a time. An attempt that lost its lease only completes its journal. A refusal
-- holds its window, and nothing else.
WITH outcome AS (
    SELECT * FROM unnest(
        %(team_id)s::integer[], %(identifier)s::text[], %(attempt)s::integer[], %(state)s::text[], %(outcome)s::text[],
        %(http_status)s::integer[], %(error_code)s::text[], %(error_message)s::text[], %(request_id)s::text[],
        %(delay)s::float8[], %(forget_attempt)s::boolean[], %(server_error)s::boolean[]
    ) AS o (team_id, identifier, attempt, state, outcome, http_status, error_code, error_message, request_id,
            delay, forget_attempt, server_error)
), settled AS (
    UPDATE billing.stripe_submissions AS submission
    SET state = outcome.state,
        http_status = outcome.http_status,
        error_code = outcome.error_code,
        error_message = outcome.error_message,
        request_id = coalesce(outcome.request_id, submission.request_id),
        not_before = clock_timestamp() + make_interval(secs => outcome.delay),
        first_attempt_at = CASE WHEN outcome.forget_attempt THEN NULL ELSE submission.first_attempt_at END,
        server_errors = submission.server_errors + outcome.server_error::integer,
        accepted_at = CASE WHEN outcome.state = 'accepted' THEN %(now)s ELSE submission.accepted_at END,
        lease_owner = NULL,
        lease_until = NULL
    FROM outcome
    WHERE (submission.team_id, submission.identifier) = (outcome.team_id, outcome.identifier)
      AND submission.state = 'in_flight' AND submission.attempts = outcome.attempt AND submission.lease_owner = %(owner)s
    RETURNING submission.team_id, submission.meter_id, submission.window_start, submission.window_end,
        submission.dimensions, submission.state, submission.error_code, submission.error_message
), held AS (
    UPDATE billing.stripe_windows AS address
    -- Of a deactivated meter planning sees by itself when it is active again, unless the same happened to this window before.
    SET held_code = CASE
            WHEN settled.error_code IN ('archived_meter', 'no_meter') AND NOT EXISTS (
                SELECT FROM billing.stripe_submissions AS earlier
                WHERE (earlier.team_id, earlier.meter_id, earlier.window_start, earlier.window_end, earlier.dimensions)
                    = (settled.team_id, settled.meter_id, settled.window_start, settled.window_end, settled.dimensions)
                  AND earlier.state = 'rejected' AND earlier.error_code = settled.error_code)
            THEN 'meter_archived' ELSE 'refused' END,
        held_at = clock_timestamp(),
        held_reason = coalesce(settled.error_message, 'Refused by Stripe.')
    FROM settled
    WHERE settled.state = 'rejected'
      AND (address.team_id, address.meter_id, address.window_start, address.window_end, address.dimensions)
        = (settled.team_id, settled.meter_id, settled.window_start, settled.window_end, settled.dimensions)
)
UPDATE billing.stripe_attempts AS attempt
SET finished_at = clock_timestamp(), outcome = outcome.outcome, http_status = outcome.http_status,
    request_id = outcome.request_id
FROM outcome
WHERE (attempt.team_id, attempt.identifier, attempt.attempt) = (outcome.team_id, outcome.identifier, outcome.attempt);

-- name: outlook
-- What could still be sent: `due` now or within the patience of this run, the seconds until the first of it is, what is to be
-- asked `later`, and how many have an outcome that only reading Stripe's summary can decide.
SELECT
    count(*) FILTER (WHERE can_be_sent AND wait <= %(patience)s) AS due,
    coalesce(min(wait) FILTER (WHERE can_be_sent), 0)::float8 AS wait,
    count(*) FILTER (WHERE can_be_sent AND wait > %(patience)s) AS later,
    count(*) FILTER (WHERE first_attempt_at <= %(resend_after)s) AS undecided
FROM (
    SELECT
        submission.first_attempt_at,
        coalesce(greatest(extract(epoch FROM submission.not_before - clock_timestamp()), 0), 0) AS wait,
        address.event_at <= %(now)s
        AND (submission.state <> 'pending' OR address.event_at >= %(oldest)s)
        AND (submission.first_attempt_at IS NULL OR submission.first_attempt_at > %(resend_after)s)
        AND NOT EXISTS (SELECT FROM billing.holds WHERE holds.team_id = submission.team_id AND released_at IS NULL)
            AS can_be_sent
    FROM billing.stripe_submissions AS submission
    JOIN billing.stripe_windows AS address USING (team_id, meter_id, window_start, window_end, dimensions)
    WHERE submission.state IN ('pending', 'in_flight', 'uncertain')
) AS open;

-- name: analyze_submissions
-- Many rows have just changed their state.
ANALYZE billing.stripe_submissions, billing.stripe_attempts;
