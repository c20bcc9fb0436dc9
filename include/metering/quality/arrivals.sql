-- name: bounds
-- What a run's gate has to look at. Moments as text: the first interval begins at -infinity. The bounds of the batches' event
-- times let the months without arrivals be left out.
WITH run AS (
    SELECT recorded_until FROM billing.metering_runs WHERE run_id = %(run_id)s
),
passed AS (
    -- The newest earlier run whose gate found nothing that is nobody's.
    SELECT coalesce(max(runs.recorded_until), '-infinity') AS recorded_until
    FROM billing.metering_runs AS runs
    WHERE runs.run_id < %(run_id)s
        AND EXISTS (SELECT FROM billing.gate_results WHERE gate = 'arrivals' AND run_id = runs.run_id)
        AND NOT EXISTS (
            SELECT FROM billing.gate_results AS results
            WHERE results.gate = 'arrivals' AND results.run_id = runs.run_id AND results.severity = 'critical'
                AND NOT results.success AND NOT (results.observed ->> 'attributed')::boolean
                AND results.checked_at = (
                    SELECT max(checked_at) FROM billing.gate_results AS again
                    WHERE again.gate = 'arrivals' AND again.run_id = runs.run_id
                        AND again.expectation = results.expectation))
),
held AS (
    SELECT min(runs.recorded_after) AS recorded_after
    FROM billing.holds AS holds
    CROSS JOIN LATERAL (
        SELECT recorded_after FROM billing.metering_runs
        WHERE opened_at <= holds.held_at ORDER BY run_id DESC LIMIT 1) AS runs
    WHERE holds.gate = 'arrivals' AND holds.released_at IS NULL
),
bounds AS (
    SELECT passed.recorded_until AS recorded_after, run.recorded_until,
        least(passed.recorded_until, held.recorded_after) AS earliest
    FROM run CROSS JOIN passed CROSS JOIN held
)
SELECT
    bounds.recorded_after::text, bounds.recorded_until::text, bounds.earliest::text,
    coalesce(min(batches.first_occurred_at), 'infinity')::text AS occurred_from,
    coalesce(max(batches.last_occurred_at), '-infinity')::text AS occurred_until,
    coalesce(sum(batches.accepted) FILTER (WHERE batches.recorded_at > bounds.recorded_after), 0) AS arrived
FROM bounds
LEFT JOIN landing.batches AS batches
    ON batches.recorded_at > bounds.earliest AND batches.recorded_at <= bounds.recorded_until
GROUP BY bounds.recorded_after, bounds.recorded_until, bounds.earliest;

-- name: batch
-- What arrived, one row a team and event name: how many events, and how many of them that count have something wrong, in
-- their quantity or in a property from which a meter takes its value.
SELECT
    profile.*,
    teams.team_id IS NOT NULL AS team_known,
    EXISTS (SELECT FROM billing.meters WHERE meters.event_name = profile.event_name) AS metered,
    EXISTS (SELECT FROM billing.meters WHERE meters.event_name = profile.event_name AND meters.allow_negative) AS may_be_negative
FROM (
    SELECT
        events.team_id,
        events.event_name,
        count(*) FILTER (WHERE events.recorded_at > %(recorded_after)s::timestamptz) AS arrived,
        count(*) FILTER (WHERE withdrawals.team_id IS NULL) AS counting,
        count(*) FILTER (WHERE withdrawals.team_id IS NULL AND events.quantity = 'NaN') AS not_a_number,
        count(*) FILTER (WHERE withdrawals.team_id IS NULL AND events.quantity < 0) AS negative,
        count(*) FILTER (
            WHERE withdrawals.team_id IS NULL AND events.quantity <> 'NaN' AND abs(events.quantity) > %(absurd)s) AS absurd,
        count(*) FILTER (WHERE withdrawals.team_id IS NULL AND taken.not_a_number) AS values_not_a_number,
        count(*) FILTER (WHERE withdrawals.team_id IS NULL AND taken.negative) AS negative_values,
        count(*) FILTER (WHERE withdrawals.team_id IS NULL AND taken.absurd) AS absurd_values
    FROM landing.usage_events AS events
    LEFT JOIN landing.event_withdrawals AS withdrawals USING (team_id, occurred_at, key_digest)
    LEFT JOIN (
        SELECT DISTINCT event_name FROM billing.meters
        WHERE (value_property IS NOT NULL OR parameters ? 'multiplier') AND aggregation NOT IN ('count', 'unique_count')
    ) AS valued USING (event_name)
    LEFT JOIN LATERAL (
        SELECT
            bool_or(value.said IS NOT NULL AND value.number IS NULL) AS not_a_number,
            bool_or(value.number < 0 AND NOT meters.allow_negative) AS negative,
            bool_or(abs(coalesce(value.number, events.quantity) * coalesce((meters.parameters ->> 'multiplier')::numeric, 1))
                > %(absurd)s AND (meters.value_property IS NULL OR value.number IS NOT NULL)) AS absurd
        FROM billing.meters AS meters
        CROSS JOIN LATERAL (
            SELECT
                events.properties ->> meters.value_property AS said,
                CASE
                    WHEN events.properties ->> meters.value_property ~ '^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]{1,3})?$'
                        THEN (events.properties ->> meters.value_property)::numeric
                END AS number
        ) AS value
        WHERE valued.event_name IS NOT NULL AND meters.event_name = events.event_name
            AND meters.aggregation NOT IN ('count', 'unique_count')
            AND NOT EXISTS (
                SELECT FROM jsonb_each(meters.filters) AS filters (property, allowed)
                WHERE NOT coalesce(filters.allowed ? (events.properties ->> filters.property), false))
    ) AS taken ON true
    WHERE events.recorded_at > %(earliest)s::timestamptz
        AND events.recorded_at <= %(recorded_until)s::timestamptz
        AND events.occurred_at >= %(occurred_from)s::timestamptz
        AND events.occurred_at <= %(occurred_until)s::timestamptz
        AND (
            events.recorded_at > %(recorded_after)s::timestamptz
            OR events.team_id IN (SELECT team_id FROM billing.holds WHERE gate = 'arrivals' AND released_at IS NULL))
    GROUP BY events.team_id, events.event_name
) AS profile
LEFT JOIN billing.teams AS teams USING (team_id)

-- name: counts_equal
-- The number of events that landed is not what their batches say was accepted.
SELECT NULL::integer AS team_id, 'landed ' || landed.events || ', accepted ' || accepted.events AS about,
    landed.events - accepted.events AS found
FROM (SELECT coalesce(sum(arrived), 0) AS events FROM {batch} AS batch) AS landed
CROSS JOIN (
    SELECT coalesce(sum(batches.accepted), 0) AS events FROM landing.batches AS batches
    WHERE batches.recorded_at > %(recorded_after)s::timestamptz AND batches.recorded_at <= %(recorded_until)s::timestamptz
) AS accepted
WHERE landed.events <> accepted.events

-- name: unknown_team
-- Events are of a team that is not in billing.teams.
SELECT NULL::integer AS team_id, 'team_id ' || batch.team_id AS about, sum(batch.counting) AS found
FROM {batch} AS batch
WHERE NOT batch.team_known AND batch.counting > 0
GROUP BY batch.team_id

-- name: unmetered_event
-- No meter counts these events, so they would never be billed.
SELECT batch.team_id, batch.event_name AS about, batch.counting AS found
FROM {batch} AS batch
WHERE batch.team_known AND NOT batch.metered AND batch.counting > 0

-- name: not_a_number
-- Quantities, or the properties that meters take for them, are not a number.
SELECT batch.team_id, batch.event_name AS about, batch.not_a_number + batch.values_not_a_number AS found
FROM {batch} AS batch
WHERE batch.team_known AND batch.not_a_number + batch.values_not_a_number > 0

-- name: negative_quantity
-- Quantities, or the properties that meters take for them, are below zero, and no meter of these events allows that.
SELECT batch.team_id, batch.event_name AS about,
    batch.negative_values + CASE WHEN batch.may_be_negative THEN 0 ELSE batch.negative END AS found
FROM {batch} AS batch
WHERE batch.team_known AND (batch.negative_values > 0 OR (batch.negative > 0 AND NOT batch.may_be_negative))

-- name: absurd_quantity
-- Quantities, or the properties that meters take for them, are so large that they must be a mistake.
SELECT batch.team_id, batch.event_name AS about, batch.absurd + batch.absurd_values AS found
FROM {batch} AS batch
WHERE batch.team_known AND batch.absurd + batch.absurd_values > 0

-- name: uncountable_before_meter
-- A meter is new, and of events that were there before it some have a value that it can't count: no number, or one so large
-- that it must be a mistake.
SELECT values_taken.team_id, values_taken.meter_key || ' of ' || values_taken.event_name AS about, count(*) AS found
FROM (
    SELECT
        events.team_id, events.event_name, meters.meter_key, meters.value_property,
        coalesce((meters.parameters ->> 'multiplier')::numeric, 1) AS multiplier,
        events.properties ->> meters.value_property AS said,
        CASE
            WHEN meters.value_property IS NULL THEN events.quantity
            WHEN events.properties ->> meters.value_property ~ '^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9][0-9]?[0-9]?)?$'
                THEN (events.properties ->> meters.value_property)::numeric
        END AS number
    FROM billing.meters AS meters
    JOIN landing.usage_events AS events ON events.event_name = meters.event_name
    WHERE meters.created_at > %(earliest)s::timestamptz AND meters.created_at <= %(recorded_until)s::timestamptz
        AND meters.aggregation NOT IN ('count', 'unique_count')
        AND events.recorded_at <= meters.created_at
        AND NOT EXISTS (
            SELECT FROM jsonb_each(meters.filters) AS filters (property, allowed)
            WHERE NOT coalesce(filters.allowed ? (events.properties ->> filters.property), false))
        AND NOT EXISTS (
            SELECT FROM landing.event_withdrawals AS withdrawals
            WHERE withdrawals.team_id = events.team_id AND withdrawals.occurred_at = events.occurred_at
                AND withdrawals.key_digest = events.key_digest)
) AS values_taken
WHERE values_taken.said IS NOT NULL AND values_taken.number IS NULL OR abs(values_taken.number * values_taken.multiplier) > %(most)s
GROUP BY 1, 2

-- name: quarantined_share
-- An unusual share of what was sent could not be counted and is in quarantine.
SELECT nullif(quarantined.team_id, 0) AS team_id, 'held in quarantine' AS about, quarantined.events AS found
FROM (
    SELECT team_id, count(*) AS events FROM landing.quarantined_events
    WHERE status = 'held'
        AND last_recorded_at > %(recorded_after)s::timestamptz AND last_recorded_at <= %(recorded_until)s::timestamptz
    GROUP BY team_id
) AS quarantined
LEFT JOIN (SELECT team_id, sum(arrived) AS events FROM {batch} AS batch GROUP BY team_id) AS landed USING (team_id)
WHERE quarantined.events > %(quarantined_share)s * (quarantined.events + coalesce(landed.events, 0))
