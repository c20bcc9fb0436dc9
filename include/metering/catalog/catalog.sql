-- name: take_turns
-- Two people who apply a catalog at the same moment take turns, or both would find the same version missing.
SELECT pg_advisory_xact_lock(7010);

-- name: record_now
-- Versions are recorded in the order of recording: until this transaction ends, no horizon after them can be taken.
SELECT landing.record_now() AS now;

-- name: meters_redefined
-- Meters that are known with another definition. What they measured was measured by the old one, so it may not change.
SELECT known.meter_key AS key
FROM jsonb_to_recordset(%(meters)s) AS said (
    meter text, event text, aggregation text, unit text, dimensions jsonb, value_property text, filters jsonb,
    parameters jsonb, allow_negative boolean)
JOIN billing.meters AS known ON known.meter_key = said.meter
WHERE (known.event_name, known.aggregation, known.unit, to_jsonb(known.dimensions), known.filters, known.parameters,
       known.allow_negative)
      IS DISTINCT FROM (said.event, said.aggregation, said.unit, said.dimensions, said.filters, said.parameters,
                        said.allow_negative)
   OR known.value_property IS DISTINCT FROM said.value_property
ORDER BY 1;

-- name: prices_redefined
-- Prices that are known for another plan, meter, currency, match or hours. Only their versions and names may change.
SELECT known.price_key AS key
FROM jsonb_to_recordset(%(prices)s) AS said (
    price text, plan text, meter text, currency text, match jsonb, hours int4multirange)
JOIN billing.prices AS known ON known.price_key = said.price
JOIN billing.plans AS plan ON plan.plan_id = known.plan_id
JOIN billing.meters AS meter ON meter.meter_id = known.meter_id
WHERE (plan.plan_key, meter.meter_key, known.currency::text, known.match, known.hours)
      IS DISTINCT FROM (said.plan, said.meter, said.currency, said.match, said.hours)
ORDER BY 1;

-- name: teams_moved
-- Teams with billing periods or usage whose zone is another in the file: their hours and days have been made by the one so far.
SELECT known.team_key AS key, known.time_zone
FROM jsonb_to_recordset(%(teams)s) AS said (team text, time_zone text)
JOIN billing.teams AS known ON known.team_key = said.team
WHERE known.time_zone <> said.time_zone
    AND (
        EXISTS (SELECT FROM billing.billing_periods AS periods WHERE periods.team_id = known.team_id)
        OR EXISTS (SELECT FROM landing.event_keys AS keys WHERE keys.team_id = known.team_id)
    )
ORDER BY 1;

-- name: add_meters
-- Meters that are new, in the order of the file.
INSERT INTO billing.meters (
    meter_key, meter_name, event_name, aggregation, unit, dimensions, value_property, filters, parameters, allow_negative)
SELECT said.meter, said.name, said.event, said.aggregation, said.unit,
       ARRAY(SELECT jsonb_array_elements_text(said.dimensions)), said.value_property, said.filters,
       said.parameters, said.allow_negative
FROM jsonb_to_recordset(%(meters)s) AS said (
    place integer, meter text, name text, event text, aggregation text, unit text, dimensions jsonb, value_property text,
    filters jsonb, parameters jsonb, allow_negative boolean)
WHERE NOT EXISTS (SELECT FROM billing.meters AS known WHERE known.meter_key = said.meter)
ORDER BY said.place
RETURNING meter_key AS key;

-- name: rename_meters
-- Meters that are known by another name.
UPDATE billing.meters AS known SET meter_name = said.name
FROM jsonb_to_recordset(%(meters)s) AS said (meter text, name text)
WHERE known.meter_key = said.meter AND known.meter_name <> said.name
RETURNING known.meter_key AS key;

-- name: add_plans
-- Plans that are new.
INSERT INTO billing.plans (plan_key, plan_name)
SELECT said.plan, said.name
FROM jsonb_to_recordset(%(plans)s) AS said (place integer, plan text, name text)
WHERE NOT EXISTS (SELECT FROM billing.plans AS known WHERE known.plan_key = said.plan)
ORDER BY said.place
RETURNING plan_key AS key;

-- name: rename_plans
-- Plans that are known by another name.
UPDATE billing.plans AS known SET plan_name = said.name
FROM jsonb_to_recordset(%(plans)s) AS said (plan text, name text)
WHERE known.plan_key = said.plan AND known.plan_name <> said.name
RETURNING known.plan_key AS key;

-- name: add_prices
-- Prices that are new.
INSERT INTO billing.prices (price_key, price_name, plan_id, meter_id, currency, match, hours)
SELECT said.price, said.name, plan.plan_id, meter.meter_id, said.currency, said.match, said.hours
FROM jsonb_to_recordset(%(prices)s) AS said (
    place integer, price text, name text, plan text, meter text, currency text, match jsonb, hours int4multirange)
JOIN billing.plans AS plan ON plan.plan_key = said.plan
JOIN billing.meters AS meter ON meter.meter_key = said.meter
WHERE NOT EXISTS (SELECT FROM billing.prices AS known WHERE known.price_key = said.price)
ORDER BY said.place
RETURNING price_key AS key;

-- name: rename_prices
-- Prices that are known by another name.
UPDATE billing.prices AS known SET price_name = said.name
FROM jsonb_to_recordset(%(prices)s) AS said (price text, name text)
WHERE known.price_key = said.price AND known.price_name <> said.name
RETURNING known.price_key AS key;

-- name: add_price_versions
-- Versions that differ from what was last recorded for the same price and moment. A changed version is another row.
WITH said AS (
    SELECT price.price_id, team.team_id, version.team, version.place, version.price, version.effective_from, version.model, version.charge_unit,
           version.unit_divisor, version.per_period_hour, version.charge_zero_flat, version.parameters,
           (SELECT jsonb_agg(jsonb_build_array(tier.over, tier.up_to, tier.unit_amount, tier.flat_amount, tier.block_size,
                                               tier.limits) ORDER BY tier.number)
            FROM ROWS FROM (jsonb_to_recordset(version.tiers) AS (
                over numeric, up_to numeric, unit_amount numeric, flat_amount numeric, block_size numeric, limits jsonb)
            ) WITH ORDINALITY AS tier (over, up_to, unit_amount, flat_amount, block_size, limits, number)) AS tiers
    FROM jsonb_to_recordset(%(versions)s) AS version (
        place integer, price text, team text, effective_from timestamptz, model text, charge_unit text, unit_divisor numeric,
        per_period_hour boolean, charge_zero_flat boolean, parameters jsonb, tiers jsonb)
    JOIN billing.prices AS price ON price.price_key = version.price
    LEFT JOIN billing.teams AS team ON team.team_key = version.team
),
known AS (
    SELECT DISTINCT ON (version.price_id, version.team_id, version.effective_from) version.*,
           (SELECT jsonb_agg(jsonb_build_array(tier.over, tier.up_to, tier.unit_amount, tier.flat_amount, tier.block_size,
                                               tier.limits) ORDER BY tier.tier)
            FROM billing.price_tiers AS tier WHERE tier.price_version_id = version.price_version_id) AS tiers
    FROM billing.price_versions AS version
    WHERE version.price_id IN (SELECT said.price_id FROM said)
    ORDER BY version.price_id, version.team_id, version.effective_from, version.recorded_at DESC
),
added AS (
    INSERT INTO billing.price_versions (
        price_id, team_id, effective_from, model, charge_unit, unit_divisor, per_period_hour, charge_zero_flat, parameters)
    SELECT said.price_id, said.team_id, said.effective_from, said.model, said.charge_unit, said.unit_divisor,
           said.per_period_hour, said.charge_zero_flat, said.parameters
    FROM said
    LEFT JOIN known
        ON known.price_id = said.price_id AND known.effective_from = said.effective_from
        AND known.team_id IS NOT DISTINCT FROM said.team_id
    WHERE known.price_id IS NULL
       OR (known.model, known.charge_unit, known.unit_divisor, known.per_period_hour, known.charge_zero_flat,
           known.parameters, known.tiers)
          IS DISTINCT FROM
          (said.model, said.charge_unit, said.unit_divisor, said.per_period_hour, said.charge_zero_flat, said.parameters,
           said.tiers)
    ORDER BY said.place
    RETURNING price_version_id, price_id, team_id, effective_from
),
tiers AS (
    INSERT INTO billing.price_tiers (
        price_version_id, tier, over, up_to, unit_amount, flat_amount, block_size, limits)
    SELECT added.price_version_id, tier.number, (tier.said ->> 0)::numeric, (tier.said ->> 1)::numeric,
           (tier.said ->> 2)::numeric, (tier.said ->> 3)::numeric, (tier.said ->> 4)::numeric,
           nullif(tier.said -> 5, 'null')
    FROM added
    JOIN said
        ON said.price_id = added.price_id AND said.effective_from = added.effective_from
        AND said.team_id IS NOT DISTINCT FROM added.team_id
    CROSS JOIN LATERAL jsonb_array_elements(said.tiers) WITH ORDINALITY AS tier (said, number)
)
SELECT said.price || coalesce(' of ' || said.team, '') || ' from '
           || to_char(added.effective_from AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI"Z"') AS key,
       EXISTS (
           SELECT FROM known
           WHERE known.price_id = added.price_id AND known.effective_from = added.effective_from
               AND known.team_id IS NOT DISTINCT FROM added.team_id) AS changed
FROM added
JOIN said
    ON said.price_id = added.price_id AND said.effective_from = added.effective_from
    AND said.team_id IS NOT DISTINCT FROM added.team_id
ORDER BY said.place;

-- name: versions_compared
-- What the versions of prices and of terms of plans recorded since a moment say, each beside what was said at its moment before: of
-- a team's own price by that, or by the plan. Fields as text.
WITH fields AS (
    SELECT version.*,
        jsonb_build_object(
            'model', version.model, 'charge_unit', version.charge_unit, 'unit_divisor', trim_scale(version.unit_divisor)::text,
            'per_period_hour', version.per_period_hour::text, 'charge_zero_flat', version.charge_zero_flat::text)
        || (SELECT coalesce(jsonb_object_agg(name, value #>> '{}'), '{}') FROM jsonb_each(version.parameters) AS said (name, value))
        || (SELECT coalesce(jsonb_object_agg('tier ' || tier.tier || ' ' || said.name, said.value), '{}')
            FROM billing.price_tiers AS tier
            CROSS JOIN LATERAL (VALUES
                ('over', trim_scale(tier.over)::text), ('up_to', trim_scale(tier.up_to)::text),
                ('unit_amount', trim_scale(tier.unit_amount)::text), ('flat_amount', trim_scale(tier.flat_amount)::text),
                ('block_size', trim_scale(tier.block_size)::text), ('limits', tier.limits::text)
            ) AS said (name, value)
            WHERE tier.price_version_id = version.price_version_id AND said.value IS NOT NULL) AS said
    FROM billing.price_versions AS version
    WHERE version.price_id IN (SELECT price_id FROM billing.price_versions WHERE recorded_at >= %(since)s)
)
SELECT prices.price_key || coalesce(' of ' || teams.team_key, '') || ' from '
           || to_char(recorded.effective_from AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI"Z"') AS key,
       before.said AS before, recorded.said AS after
FROM fields AS recorded
JOIN billing.prices AS prices USING (price_id)
LEFT JOIN billing.teams AS teams USING (team_id)
CROSS JOIN LATERAL (
    SELECT earlier.said FROM fields AS earlier
    WHERE earlier.price_id = recorded.price_id AND earlier.recorded_at < %(since)s
        AND (earlier.team_id = recorded.team_id OR earlier.team_id IS NULL) AND earlier.effective_from <= recorded.effective_from
    ORDER BY earlier.team_id IS NULL, earlier.effective_from DESC, earlier.recorded_at DESC LIMIT 1
) AS before
WHERE recorded.recorded_at >= %(since)s
UNION ALL
SELECT plan.plan_key || ' in ' || recorded.currency || ' from '
           || to_char(recorded.effective_from AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI"Z"'),
       before.parameters, recorded.parameters
FROM billing.plan_terms AS recorded
JOIN billing.plans AS plan USING (plan_id)
CROSS JOIN LATERAL (
    SELECT earlier.parameters FROM billing.plan_terms AS earlier
    WHERE earlier.plan_id = recorded.plan_id AND earlier.currency = recorded.currency
        AND earlier.recorded_at < %(since)s AND earlier.effective_from <= recorded.effective_from
    ORDER BY earlier.effective_from DESC, earlier.recorded_at DESC LIMIT 1
) AS before
WHERE recorded.recorded_at >= %(since)s;

-- name: left_out
-- What stays in force though the files name it no more: prices of their plans, and own prices of their teams.
SELECT 'price' AS kind, price.price_key AS key
FROM billing.prices AS price
JOIN billing.plans AS plan USING (plan_id)
WHERE plan.plan_key IN (SELECT said.plan FROM jsonb_to_recordset(%(plans)s) AS said (plan text))
    AND price.price_key NOT IN (SELECT said.price FROM jsonb_to_recordset(%(prices)s) AS said (price text))
UNION
SELECT 'override', team.team_key || ' of ' || price.price_key
FROM billing.price_versions AS version
JOIN billing.prices AS price USING (price_id)
JOIN billing.teams AS team ON team.team_id = version.team_id
WHERE team.team_key IN (SELECT said.team FROM jsonb_to_recordset(%(teams)s) AS said (team text))
    AND (price.price_key, team.team_key) NOT IN (
        SELECT said.price, said.team FROM jsonb_to_recordset(%(versions)s) AS said (price text, team text)
        WHERE said.team IS NOT NULL)
ORDER BY 1, 2;

-- name: add_plan_terms
-- Terms of plans that differ from what was last recorded for the same moment. Changed terms are another row.
WITH said AS (
    SELECT plan.plan_id, terms.*
    FROM jsonb_to_recordset(%(terms)s) AS terms (
        place integer, plan text, currency text, effective_from timestamptz, parameters jsonb)
    JOIN billing.plans AS plan ON plan.plan_key = terms.plan
),
known AS (
    SELECT DISTINCT ON (plan_id, currency, effective_from) plan_id, currency::text AS currency, effective_from, parameters
    FROM billing.plan_terms WHERE plan_id IN (SELECT said.plan_id FROM said)
    ORDER BY plan_id, currency, effective_from, recorded_at DESC
),
added AS (
    INSERT INTO billing.plan_terms (plan_id, currency, effective_from, parameters)
    SELECT said.plan_id, said.currency, said.effective_from, said.parameters
    FROM said
    LEFT JOIN known USING (plan_id, currency, effective_from)
    WHERE known.parameters IS DISTINCT FROM said.parameters
    RETURNING plan_id, currency::text AS currency, effective_from
)
SELECT said.plan || ' in ' || said.currency || ' from '
           || to_char(added.effective_from AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI"Z"') AS key,
       EXISTS (
           SELECT FROM known
           WHERE (known.plan_id, known.currency, known.effective_from)
               = (added.plan_id, added.currency, added.effective_from)) AS changed
FROM added
JOIN said USING (plan_id, currency, effective_from)
ORDER BY said.place;

-- name: add_teams
-- Teams that are new.
INSERT INTO billing.teams (team_key, team_name, time_zone)
SELECT said.team, said.name, said.time_zone
FROM jsonb_to_recordset(%(teams)s) AS said (place integer, team text, name text, time_zone text)
WHERE NOT EXISTS (SELECT FROM billing.teams AS known WHERE known.team_key = said.team)
ORDER BY said.place
RETURNING team_key AS key;

-- name: change_teams
-- Teams that are known with another name or zone.
UPDATE billing.teams AS known SET team_name = said.name, time_zone = said.time_zone
FROM jsonb_to_recordset(%(teams)s) AS said (team text, name text, time_zone text)
WHERE known.team_key = said.team AND (known.team_name, known.time_zone) <> (said.name, said.time_zone)
RETURNING known.team_key AS key;

-- name: add_subscriptions
-- Subscriptions that differ from what was last recorded. A changed subscription is another row.
WITH said AS (
    SELECT team.team_id, subscription.*
    FROM jsonb_to_recordset(%(subscriptions)s) AS subscription (
        place integer, team text, subscription text, currency text, time_zone text, anchor_day smallint,
        starts_at timestamptz, ends_at timestamptz, cycle_days smallint, cycle_from date)
    JOIN billing.teams AS team ON team.team_key = subscription.team
),
known AS (
    SELECT DISTINCT ON (known.team_id, known.subscription_key) known.*
    FROM billing.subscriptions AS known
    JOIN said ON said.team_id = known.team_id AND said.subscription = known.subscription_key
    ORDER BY known.team_id, known.subscription_key, known.recorded_at DESC
),
added AS (
    INSERT INTO billing.subscriptions (
        team_id, subscription_key, currency, time_zone, anchor_day, starts_at, ends_at, cycle_days, cycle_from)
    SELECT said.team_id, said.subscription, said.currency, said.time_zone, said.anchor_day, said.starts_at, said.ends_at,
           said.cycle_days, said.cycle_from
    FROM said
    LEFT JOIN known ON known.team_id = said.team_id AND known.subscription_key = said.subscription
    WHERE known.team_id IS NULL
       OR (known.currency::text, known.time_zone, known.anchor_day, known.starts_at)
          <> (said.currency, said.time_zone, said.anchor_day, said.starts_at)
       OR (known.ends_at, known.cycle_days, known.cycle_from)
          IS DISTINCT FROM (said.ends_at, said.cycle_days, said.cycle_from)
    RETURNING team_id, subscription_key
)
SELECT said.team || CASE said.subscription WHEN 'main' THEN '' ELSE ' ' || said.subscription END AS key,
       EXISTS (SELECT FROM known WHERE (known.team_id, known.subscription_key) = (said.team_id, said.subscription)) AS changed
FROM added
JOIN said ON said.team_id = added.team_id AND said.subscription = added.subscription_key
ORDER BY said.place;

-- name: add_subscription_plans
-- Plans of subscriptions that differ from what was last recorded for the same moment. Where the file tells the whole history
-- of a subscription, a change that is known and not in it is undone: the plan before it goes on.
WITH said AS (
    SELECT team.team_id, team.team_key, plan.plan_id, plan.plan_key, change.place, change.subscription, change.plan_from
    FROM jsonb_to_recordset(%(plan_changes)s) AS change (
        place integer, team text, subscription text, plan text, plan_from timestamptz)
    JOIN billing.teams AS team ON team.team_key = change.team
    JOIN billing.plans AS plan ON plan.plan_key = change.plan
),
known AS (
    SELECT DISTINCT ON (known.team_id, known.subscription_key, known.effective_from)
        known.team_id, known.subscription_key, known.effective_from, known.plan_id
    FROM billing.subscription_plans AS known
    WHERE (known.team_id, known.subscription_key) IN (SELECT said.team_id, said.subscription FROM said)
    ORDER BY known.team_id, known.subscription_key, known.effective_from, known.recorded_at DESC
),
undone AS (
    SELECT known.team_id, before.team_key, before.plan_id, before.plan_key, before.place, known.subscription_key,
           known.effective_from
    FROM known
    JOIN billing.teams AS team USING (team_id)
    JOIN jsonb_to_recordset(%(subscriptions)s) AS whole (team text, subscription text, whole_history boolean)
        ON whole.team = team.team_key AND whole.subscription = known.subscription_key AND whole.whole_history
    CROSS JOIN LATERAL (
        SELECT * FROM said
        WHERE said.team_id = known.team_id AND said.subscription = known.subscription_key
            AND said.plan_from < known.effective_from
        ORDER BY said.plan_from DESC
        LIMIT 1
    ) AS before
    WHERE NOT EXISTS (
        SELECT FROM said
        WHERE (said.team_id, said.subscription, said.plan_from)
            = (known.team_id, known.subscription_key, known.effective_from))
),
wanted AS (
    SELECT team_id, team_key, plan_id, plan_key, place, subscription AS subscription_key, plan_from AS effective_from
    FROM said
    UNION ALL
    SELECT * FROM undone
),
added AS (
    INSERT INTO billing.subscription_plans (team_id, subscription_key, effective_from, plan_id)
    SELECT wanted.team_id, wanted.subscription_key, wanted.effective_from, wanted.plan_id
    FROM wanted
    LEFT JOIN known USING (team_id, subscription_key, effective_from)
    WHERE known.plan_id IS DISTINCT FROM wanted.plan_id
    RETURNING team_id, subscription_key, effective_from
)
SELECT wanted.team_key || ' on ' || wanted.plan_key AS key,
       EXISTS (SELECT FROM known WHERE (known.team_id, known.subscription_key) = (wanted.team_id, wanted.subscription_key))
           AS changed
FROM added
JOIN wanted USING (team_id, subscription_key, effective_from)
ORDER BY wanted.place, wanted.effective_from;

-- name: set_alerts
-- Alerts that are new, or differ from those of the same name. They say when to warn, not what is owed, and keep no versions.
WITH said AS (
    SELECT alert.place, team.team_id, team.team_key, alert.alert AS alert_key, alert.measure, meter.meter_id,
           alert.threshold, alert.severity, alert.channels, alert.active
    FROM jsonb_to_recordset(%(alerts)s) AS alert (
        place integer, team text, alert text, measure text, meter text, threshold numeric, severity text,
        channels jsonb, active boolean)
    JOIN billing.teams AS team ON team.team_key = alert.team
    LEFT JOIN billing.meters AS meter ON meter.meter_key = alert.meter
),
known AS (
    SELECT alerts.* FROM billing.alerts AS alerts JOIN said USING (team_id, alert_key)
),
written AS (
    INSERT INTO billing.alerts AS alerts (team_id, alert_key, measure, meter_id, threshold, severity, channels, active)
    SELECT team_id, alert_key, measure, meter_id, threshold, severity, channels, active FROM said
    ON CONFLICT (team_id, alert_key) DO UPDATE SET
        measure = excluded.measure, meter_id = excluded.meter_id, threshold = excluded.threshold,
        severity = excluded.severity, channels = excluded.channels, active = excluded.active
    WHERE (alerts.measure, alerts.meter_id, alerts.threshold, alerts.severity, alerts.channels, alerts.active)
        IS DISTINCT FROM (excluded.measure, excluded.meter_id, excluded.threshold, excluded.severity, excluded.channels,
                          excluded.active)
    RETURNING team_id, alert_key
)
SELECT said.team_key || ' ' || said.alert_key AS key,
       EXISTS (SELECT FROM known WHERE (known.team_id, known.alert_key) = (said.team_id, said.alert_key)) AS changed
FROM written
JOIN said USING (team_id, alert_key)
ORDER BY said.place;
