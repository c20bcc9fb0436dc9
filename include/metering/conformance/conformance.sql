-- Statements of metering.conformance: what the marts say of the teams that cases became. `asked` is a JSON array of teams,
-- each with the period it is about, [start, until), and the unit of its windows, if any.

-- name: plan_for_sets
-- Hashes join what is read of many teams at once: no planner can estimate the views, and it would nest loops.
SELECT set_config('enable_nestloop', 'off', true);

-- name: lines
-- Lines of any bill about the period.
SELECT
    lines.team_key AS team, lines.kind, lines.line_key, lines.price_key AS price, lines.meter_key AS meter, lines.dimensions,
    trim_scale(lines.quantity) AS quantity, trim_scale(lines.charge_quantity) AS charge_quantity,
    trim_scale(lines.amount) AS amount, trim_scale(lines.exact_amount) AS exact_amount, lines.period_label AS stands_on,
    lines.about_period_start AS about
FROM jsonb_to_recordset(%(asked)s) AS asked (team text, start timestamptz, until timestamptz)
JOIN marts.fct_bill_lines AS lines
    ON lines.team_key = asked.team
    AND lines.about_period_start >= asked.start AND lines.about_period_start < asked.until
ORDER BY lines.team_key, lines.period_start, lines.line_key;

-- name: rated
-- What the period is worth by what is known now, before rounding; a bill's adjustment is of rounded amounts.
SELECT teams.team_key AS team, rated.kind, trim_scale(sum(rated.exact_amount)) AS exact_amount
FROM jsonb_to_recordset(%(asked)s) AS asked (team text, start timestamptz, until timestamptz)
JOIN billing.teams AS teams ON teams.team_key = asked.team
JOIN intermediate.int_lines_rated AS rated
    ON rated.team_id = teams.team_id
    AND rated.period_start >= asked.start AND rated.period_start < asked.until
GROUP BY teams.team_key, rated.kind;

-- name: tiers
-- Rated tiers of the period, by what is known now. `slice` is the part of a price that is a combination of dimensions.
SELECT
    teams.team_key AS team, prices.price_key AS price, rated.part,
    CASE WHEN position('{' IN rated.part) > 0 THEN substr(rated.part, position('{' IN rated.part))::jsonb END AS slice,
    rated.tier, trim_scale(rated.tier_quantity) AS tier_quantity, trim_scale(rated.billed_units) AS billed_units,
    trim_scale(rated.unit_amount) AS unit_amount, trim_scale(rated.usage_amount) AS usage_amount,
    trim_scale(rated.fixed_amount) AS fixed_amount, rated.period_start AS about
FROM jsonb_to_recordset(%(asked)s) AS asked (team text, start timestamptz, until timestamptz)
JOIN billing.teams AS teams ON teams.team_key = asked.team
JOIN marts.fct_rated_usage AS rated
    ON rated.team_id = teams.team_id
    AND rated.period_start >= asked.start AND rated.period_start < asked.until
JOIN billing.price_versions AS versions USING (price_version_id)
JOIN billing.prices AS prices USING (price_id)
ORDER BY teams.team_key, rated.line_key, rated.part, rated.tier;

-- name: measured
-- What was metered: events in the period and by its end, the change in it, and the level with which it ends.
SELECT
    teams.team_key AS team, meters.meter_key AS meter,
    sum(metered.event_count) FILTER (WHERE metered.bucket_start >= asked.start) AS events,
    sum(metered.event_count) AS events_until,
    trim_scale(sum(metered.quantity) FILTER (WHERE metered.bucket_start >= asked.start)) AS change,
    trim_scale(sum(metered.quantity)) AS level
FROM jsonb_to_recordset(%(asked)s) AS asked (team text, start timestamptz, until timestamptz)
JOIN billing.teams AS teams ON teams.team_key = asked.team
JOIN intermediate.int_usage_recorded AS metered ON metered.team_id = teams.team_id AND metered.bucket_start < asked.until
JOIN billing.meters AS meters USING (meter_id)
GROUP BY teams.team_key, meters.meter_key;

-- name: windows
-- Usage by hour, day or month of the team's own clock, whichever is asked for.
WITH asked AS (
    SELECT teams.team_id, teams.time_zone, asked.*
    FROM jsonb_to_recordset(%(asked)s) AS asked (team text, start timestamptz, until timestamptz, unit text)
    JOIN billing.teams AS teams ON teams.team_key = asked.team
),
windows AS (
    SELECT 'hour' AS unit, team_id, meter_id, hour_start AS window_start, quantity FROM marts.fct_usage_hourly
    UNION ALL
    SELECT 'day', team_id, meter_id, day_start, quantity FROM marts.fct_usage_daily
    UNION ALL
    SELECT 'month', team_id, meter_id, month_start, quantity FROM marts.fct_usage_monthly
)
SELECT
    asked.team, meters.meter_key AS meter, windows.window_start,
    billing.local_end(asked.unit, windows.window_start, asked.time_zone) AS window_end, trim_scale(windows.quantity) AS quantity
FROM asked
JOIN windows
    ON windows.unit = asked.unit AND windows.team_id = asked.team_id
    AND windows.window_start >= asked.start AND windows.window_start < asked.until
JOIN billing.meters AS meters USING (meter_id)
ORDER BY asked.team, windows.window_start;

-- name: quarantined
-- Events that were refused.
SELECT teams.team_key AS team, count(*) AS events, min(entries.message) AS message
FROM landing.quarantined_events AS entries
JOIN billing.teams AS teams USING (team_id)
GROUP BY teams.team_key;
