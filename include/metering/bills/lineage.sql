-- Statements of metering.bills.lineage: the events under a line. All are bounded by the line's team and time.

-- name: line
-- A line of usage: its price, its stretch of time, what it measured and what it charges.
SELECT
    segments.line_key, segments.price_key, segments.price_name, segments.price_version_id, segments.model,
    segments.meter_id, meters.meter_key, meters.aggregation, meters.unit, segments.charge_unit,
    meters.aggregation IN ('count', 'sum', 'bucketed_sum') AS adds_up,
    meters.rounding IS NOT NULL AS is_rounded,
    segments.segment_from, segments.segment_until, segments.window_unit,
    extract(epoch FROM segments.cycle_end - segments.cycle_start) AS cycle_seconds,
    trim_scale(sum(segments.quantity)) AS quantity, trim_scale(sum(segments.charge_quantity)) AS charge_quantity
FROM intermediate.int_segments_rated AS segments
JOIN staging.stg_billing__meters AS meters USING (meter_id)
WHERE segments.team_id = %(team_id)s AND segments.subscription_key = %(subscription_key)s
    AND segments.period_start = %(period_start)s AND segments.line_key = %(line_key)s
GROUP BY segments.line_key, segments.price_key, segments.price_name, segments.price_version_id, segments.model,
    segments.meter_id, meters.meter_key, meters.aggregation, meters.unit, meters.rounding, segments.charge_unit,
    segments.segment_from, segments.segment_until, segments.window_unit, segments.cycle_end, segments.cycle_start;

-- name: added
-- A page of the events of a meter that adds up. An event takes the price that its slice takes: the one that names most of its
-- dimensions, the lower key where two name as many (int_usage_priced).
WITH prices AS MATERIALIZED (
    SELECT * FROM intermediate.int_price_segments
    WHERE team_id = %(team_id)s AND subscription_key = %(subscription_key)s AND period_start = %(period_start)s
        AND meter_id = %(meter_id)s
)
SELECT
    metered.occurred_at, metered.recorded_at, metered.key_digest, events.event_key, metered.dimensions,
    trim_scale(metered.metered_value) AS value, trim_scale(metered.metered_value) AS counts
FROM intermediate.int_events_metered AS metered
JOIN landing.usage_events AS events USING (team_id, occurred_at, key_digest)
CROSS JOIN LATERAL (
    SELECT prices.price_version_id, prices.segment_from
    FROM prices
    WHERE prices.segment_from <= metered.bucket_start AND prices.segment_until > metered.bucket_start
        AND metered.dimensions @> prices.match AND (prices.hours IS NULL OR prices.hours @> metered.quarter_of_week)
    ORDER BY prices.matched_dimensions DESC, prices.price_key
    LIMIT 1
) AS taken
WHERE metered.team_id = %(team_id)s AND metered.meter_id = %(meter_id)s
    AND metered.occurred_at >= %(segment_from)s AND metered.occurred_at < %(segment_until)s
    AND (metered.occurred_at, metered.key_digest) > (%(after_time)s, %(after_key)s)
    AND taken.price_version_id = %(price_version_id)s AND taken.segment_from = %(segment_from)s
ORDER BY metered.occurred_at, metered.key_digest
LIMIT %(limit)s;

-- name: added_before
-- What the events up to a place in that order add up to: whole quarter-hours, and the events of the one that is cut.
WITH prices AS MATERIALIZED (
    SELECT * FROM intermediate.int_price_segments
    WHERE team_id = %(team_id)s AND subscription_key = %(subscription_key)s AND period_start = %(period_start)s
        AND meter_id = %(meter_id)s
),
cut AS (
    SELECT date_bin('15 minutes', %(after_time)s::timestamptz, '2000-01-01Z') AS bucket_start
),
parts AS (
    SELECT known.bucket_start, known.dimensions, known.quantity,
        (SELECT quarter_of_week FROM intermediate.int_events_metered AS metered
         WHERE metered.team_id = known.team_id AND metered.meter_id = known.meter_id
             AND metered.occurred_at >= known.bucket_start
             AND metered.occurred_at < known.bucket_start + interval '15 minutes' LIMIT 1) AS quarter_of_week
    FROM intermediate.int_usage_known AS known
    WHERE known.team_id = %(team_id)s AND known.meter_id = %(meter_id)s
        AND known.bucket_start >= %(segment_from)s AND known.bucket_start < (SELECT bucket_start FROM cut)
    UNION ALL
    SELECT metered.bucket_start, metered.dimensions, metered.metered_value, metered.quarter_of_week
    FROM intermediate.int_events_metered AS metered
    WHERE metered.team_id = %(team_id)s AND metered.meter_id = %(meter_id)s
        AND metered.occurred_at >= greatest((SELECT bucket_start FROM cut), %(segment_from)s)
        AND metered.occurred_at <= %(after_time)s
        AND (metered.occurred_at, metered.key_digest) <= (%(after_time)s, %(after_key)s)
)
SELECT trim_scale(coalesce(sum(parts.quantity), 0)) AS quantity
FROM parts
CROSS JOIN LATERAL (
    SELECT prices.price_version_id, prices.segment_from
    FROM prices
    WHERE prices.segment_from <= parts.bucket_start AND prices.segment_until > parts.bucket_start
        AND parts.dimensions @> prices.match AND (prices.hours IS NULL OR prices.hours @> parts.quarter_of_week)
    ORDER BY prices.matched_dimensions DESC, prices.price_key
    LIMIT 1
) AS taken
WHERE taken.price_version_id = %(price_version_id)s AND taken.segment_from = %(segment_from)s;
