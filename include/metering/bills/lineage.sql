-- Statements of metering.bills.lineage: the events under a line. All are bounded by the line's team and time.

-- name: line
-- A line of usage: its price, its stretch of time, what it measured and what it charges.
SELECT
    segments.line_key, segments.price_name, segments.price_version_id, segments.model, segments.meter_id,
    meters.meter_key, meters.event_name, meters.aggregation, meters.unit, segments.charge_unit,
    meters.aggregation IN ('count', 'sum', 'bucketed_sum') AS adds_up,
    segments.segment_from, segments.segment_until,
    extract(epoch FROM segments.cycle_end - segments.cycle_start) AS cycle_seconds,
    trim_scale(sum(segments.quantity)) AS quantity, trim_scale(sum(segments.charge_quantity)) AS charge_quantity
FROM intermediate.int_segments_rated AS segments
JOIN staging.stg_billing__meters AS meters USING (meter_id)
WHERE segments.team_id = %(team_id)s AND segments.subscription_key = %(subscription_key)s
    AND segments.period_start = %(period_start)s AND segments.line_key = %(line_key)s
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14;

-- name: final_as_of
-- As of when the bill of a period knows that is final at the moment.
SELECT as_of FROM billing.finalized_bills
WHERE team_id = %(team_id)s AND subscription_key = %(subscription_key)s AND period_start = %(period_start)s
    AND finalized_at <= %(at)s;

-- name: last_final_as_of
-- As of when the last bill of the subscription knew that was final at the moment: it billed all that was then due about earlier periods.
SELECT max(as_of) AS as_of FROM billing.finalized_bills
WHERE team_id = %(team_id)s AND subscription_key = %(subscription_key)s AND finalized_at <= %(at)s;

-- name: archived
-- The archived months in which events under the line occurred; what a level rests on may lie in any before.
SELECT to_char(month, 'YYYY-MM') AS month FROM landing.archived_months
WHERE state <> 'restored' AND starts_at < %(segment_until)s
    AND (ends_at > %(segment_from)s OR %(aggregation)s = 'weighted_sum')
ORDER BY month;

-- name: prices
-- Every price of the line's meter in its period, handed on as they are: events are looked up by key, and must not be joined with
-- a view of which no planner knows how few rows it has.
SELECT jsonb_agg(jsonb_build_object(
    'price_version_id', price_version_id, 'segment_from', segment_from, 'segment_until', segment_until, 'match', match,
    'matched_dimensions', matched_dimensions, 'hours', hours::text, 'price_key', price_key, 'window_unit', window_unit,
    'group_by', group_by)) AS prices
FROM intermediate.int_price_segments
WHERE team_id = %(team_id)s AND subscription_key = %(subscription_key)s AND period_start = %(period_start)s
    AND meter_id = %(meter_id)s;

-- name: look_up_by_key
-- From here on events are read in the order of their key and looked up by it, so that a page ends where it is full. No planner
-- knows that nearly all of a meter's events may take the price that is asked for: it would read all of them and sort. Which months they
-- lie in is known only with the values.
SELECT
    set_config('plan_cache_mode', 'force_custom_plan', true),
    set_config('enable_nestloop', 'on', true), set_config('enable_hashjoin', 'off', true),
    set_config('enable_mergejoin', 'off', true), set_config('enable_seqscan', 'off', true),
    set_config('enable_bitmapscan', 'off', true), set_config('enable_sort', 'off', true);

-- name: added
-- The events of a meter that adds up, in the order in which they occurred, each with what those up to it add up to. An event takes
-- the price that its slice takes (int_usage_priced): the one that names most of its dimensions, the lower key where two name as
-- many.
SELECT *
FROM (
    SELECT
        landed.occurred_at, landed.key_digest, metered.recorded_at, metered.dimensions, metered.metered_value AS value,
        metered.metered_value AS counts,
        %(already)s::numeric + sum(metered.metered_value) OVER (
            ORDER BY landed.occurred_at, landed.key_digest ROWS UNBOUNDED PRECEDING) AS running
    FROM (
        SELECT team_id, occurred_at, key_digest
        FROM landing.usage_events
        WHERE team_id = %(team_id)s AND event_name = %(event_name)s
            AND occurred_at >= greatest(%(segment_from)s, %(after_time)s) AND occurred_at < %(segment_until)s
            AND (occurred_at, key_digest) > (%(after_time)s, %(after_key)s)
        ORDER BY occurred_at, key_digest
        OFFSET 0
    ) AS landed
    CROSS JOIN LATERAL (
        SELECT *
        FROM intermediate.int_events_metered AS one
        WHERE one.team_id = landed.team_id AND one.meter_id = %(meter_id)s
            AND one.occurred_at = landed.occurred_at AND one.key_digest = landed.key_digest
        OFFSET 0
    ) AS metered
    CROSS JOIN LATERAL (
        SELECT prices.price_version_id, prices.segment_from
        FROM jsonb_to_recordset(%(prices)s) AS prices (
            price_version_id integer, segment_from timestamptz, segment_until timestamptz, match jsonb,
            matched_dimensions bigint, hours int4multirange, price_key text)
        WHERE prices.segment_from <= metered.bucket_start AND prices.segment_until > metered.bucket_start
            AND metered.dimensions @> prices.match AND (prices.hours IS NULL OR prices.hours @> metered.quarter_of_week)
        ORDER BY prices.matched_dimensions DESC, prices.price_key
        LIMIT 1
    ) AS taken
    WHERE taken.price_version_id = %(price_version_id)s AND taken.segment_from = %(segment_from)s
) AS counted
WHERE (%(over)s::numeric IS NULL OR running > %(over)s) AND (%(up_to)s::numeric IS NULL OR running - counts < %(up_to)s)
ORDER BY occurred_at, key_digest
LIMIT %(limit)s;

-- name: decided
-- The events of a meter that does not add up, each with what it counts for: the line's quantity for those that decided it, and
-- nothing for the others. Slices that take the same price are one; what a price prices by itself (hours, days, slices) is not.
WITH events AS (
    SELECT
        metered.occurred_at, metered.recorded_at, metered.key_digest, metered.dimensions, metered.metered_value AS value,
        metered.member, metered.is_removal, metered.bucket_window,
        CASE
            WHEN taken.window_unit IS NOT NULL
                THEN billing.local_start(taken.window_unit, metered.bucket_start, metered.time_zone)
        END AS price_window,
        (
            SELECT jsonb_object_agg(dimension, metered.dimensions -> dimension)
            FROM jsonb_array_elements_text(taken.group_by) AS dimension WHERE metered.dimensions ? dimension
        ) AS price_slice
    FROM intermediate.int_events_metered AS metered
    CROSS JOIN LATERAL (
        SELECT prices.price_version_id, prices.segment_from, prices.window_unit, prices.group_by
        FROM jsonb_to_recordset(%(prices)s) AS prices (
            price_version_id integer, segment_from timestamptz, segment_until timestamptz, match jsonb,
            matched_dimensions bigint, hours int4multirange, price_key text, window_unit text, group_by jsonb)
        -- A level counts from before the stretch.
        WHERE prices.segment_from <= greatest(metered.bucket_start, %(segment_from)s)
            AND prices.segment_until > greatest(metered.bucket_start, %(segment_from)s)
            AND metered.dimensions @> prices.match AND (prices.hours IS NULL OR prices.hours @> metered.quarter_of_week)
        ORDER BY prices.matched_dimensions DESC, prices.price_key
        LIMIT 1
    ) AS taken
    WHERE metered.team_id = %(team_id)s AND metered.meter_id = %(meter_id)s
        AND metered.occurred_at < %(segment_until)s
        AND (metered.occurred_at >= %(segment_from)s OR %(aggregation)s = 'weighted_sum')
        AND taken.price_version_id = %(price_version_id)s AND taken.segment_from = %(segment_from)s
),
counted AS (
    SELECT
        occurred_at, recorded_at, key_digest, dimensions, value,
        CASE %(aggregation)s
            WHEN 'max' THEN CASE WHEN row_number() OVER (
                PARTITION BY price_window, price_slice ORDER BY value DESC, occurred_at, key_digest) = 1 THEN value ELSE 0 END
            WHEN 'min' THEN CASE WHEN row_number() OVER (
                PARTITION BY price_window, price_slice ORDER BY value, occurred_at, key_digest) = 1 THEN value ELSE 0 END
            WHEN 'bucketed_max' THEN CASE WHEN row_number() OVER (
                PARTITION BY price_window, price_slice, bucket_window ORDER BY value DESC, occurred_at, key_digest) = 1
                THEN value ELSE 0 END
            WHEN 'latest' THEN CASE WHEN row_number() OVER (
                PARTITION BY price_window, price_slice ORDER BY occurred_at DESC, recorded_at DESC, key_digest DESC) = 1
                THEN value ELSE 0 END
            WHEN 'unique_count' THEN CASE WHEN NOT is_removal AND row_number() OVER (
                PARTITION BY price_window, price_slice, member ORDER BY occurred_at DESC, recorded_at DESC, key_digest DESC) = 1
                THEN 1 ELSE 0 END
            WHEN 'average' THEN value / count(*) OVER (PARTITION BY price_window, price_slice)
            WHEN 'weighted_sum' THEN value
                * extract(epoch FROM %(segment_until)s - greatest(occurred_at, %(segment_from)s)) / %(cycle_seconds)s
        END AS counts
    FROM events
)
SELECT *
FROM (
    SELECT *, sum(counts) OVER (ORDER BY occurred_at, key_digest ROWS UNBOUNDED PRECEDING) AS running FROM counted
) AS summed
WHERE (occurred_at, key_digest) > (%(after_time)s, %(after_key)s)
    AND (%(over)s::numeric IS NULL OR running > %(over)s) AND (%(up_to)s::numeric IS NULL OR running - counts < %(up_to)s)
ORDER BY occurred_at, key_digest
LIMIT %(limit)s;

-- name: keys
-- What the events of a page are called.
SELECT events.key_digest, events.event_key
FROM unnest(%(moments)s::timestamptz[], %(digests)s::uuid[]) AS asked (occurred_at, key_digest)
JOIN landing.usage_events AS events
    ON events.team_id = %(team_id)s AND events.occurred_at = asked.occurred_at AND events.key_digest = asked.key_digest;
