-- Hours, days and months of a zone's clock, also where the clock is set at midnight, or by half an hour.

CREATE FUNCTION billing.local_instant(on_clock timestamp, time_zone text) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE
        -- Mostly nobody has set the clock in the hours before. PostgreSQL takes the second of two instants that show the same.
        WHEN (on_clock AT TIME ZONE time_zone - interval '3 hours') AT TIME ZONE time_zone = on_clock - interval '3 hours'
            THEN on_clock AT TIME ZONE time_zone
        WHEN (on_clock AT TIME ZONE time_zone - interval '1 hour') AT TIME ZONE time_zone = on_clock
            THEN on_clock AT TIME ZONE time_zone - interval '1 hour'
        WHEN (on_clock AT TIME ZONE time_zone - interval '2 hours') AT TIME ZONE time_zone = on_clock
            THEN on_clock AT TIME ZONE time_zone - interval '2 hours'
        WHEN (on_clock AT TIME ZONE time_zone - interval '3 hours') AT TIME ZONE time_zone = on_clock
            THEN on_clock AT TIME ZONE time_zone - interval '3 hours'
        ELSE on_clock AT TIME ZONE time_zone
    END
$$;
COMMENT ON FUNCTION billing.local_instant(timestamp, text) IS
    'The first instant at which a clock shows this, or has passed it: midnight in Havana, where an hour from midnight is repeated, '
    'is the first of both; midnight in Cairo, on the day that begins at one o''clock, is when the clock is set.';

CREATE FUNCTION billing.local_start(unit text, moment timestamptz, time_zone text) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN unit <> 'hour' THEN billing.local_instant(date_trunc(unit, moment AT TIME ZONE time_zone), time_zone)
        -- Of an hour within which the clock was set, the part in which the moment lies: it begins on a quarter.
        WHEN date_trunc('hour', moment, time_zone) AT TIME ZONE time_zone = date_trunc('hour', moment AT TIME ZONE time_zone)
            THEN date_trunc('hour', moment, time_zone)
        WHEN (date_trunc('hour', moment, time_zone) + interval '15 minutes') AT TIME ZONE time_zone
            = date_trunc('hour', moment AT TIME ZONE time_zone) + interval '15 minutes'
            THEN date_trunc('hour', moment, time_zone) + interval '15 minutes'
        WHEN (date_trunc('hour', moment, time_zone) + interval '30 minutes') AT TIME ZONE time_zone
            = date_trunc('hour', moment AT TIME ZONE time_zone) + interval '30 minutes'
            THEN date_trunc('hour', moment, time_zone) + interval '30 minutes'
        ELSE date_trunc('hour', moment, time_zone) + interval '45 minutes'
    END
$$;
COMMENT ON FUNCTION billing.local_start(text, timestamptz, text) IS
    'Where the hour, day or month (unit) of a zone''s clock begins in which a moment lies. An hour that the clock repeats is two.';

CREATE FUNCTION billing.local_end(unit text, starts timestamptz, time_zone text) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN unit <> 'hour' THEN billing.local_instant(
            date_trunc(unit, starts AT TIME ZONE time_zone)
            + make_interval(months => (unit = 'month')::integer, days => (unit = 'day')::integer), time_zone)
        -- An hour ends early where the clock is set within it: its last quarter belongs to another then.
        WHEN billing.local_start('hour', date_trunc('hour', starts, time_zone) + interval '45 minutes', time_zone) > starts
            THEN billing.local_start('hour', date_trunc('hour', starts, time_zone) + interval '45 minutes', time_zone)
        ELSE date_trunc('hour', starts, time_zone) + interval '1 hour'
    END
$$;
COMMENT ON FUNCTION billing.local_end(text, timestamptz, text) IS
    'Where an hour, day or month of a zone''s clock ends that begins at `starts`: where the next begins.';

CREATE OR REPLACE FUNCTION billing.periods_of(
    starts_at timestamptz, ends_at timestamptz, time_zone text, anchor_day integer, until timestamptz
) RETURNS TABLE (
    period_start timestamptz, period_end timestamptz, cycle_start timestamptz, cycle_end timestamptz, period_label text
)
LANGUAGE sql STABLE AS $$
    WITH months AS (
        SELECT month::date AS month
        FROM generate_series(
            date_trunc('month', starts_at AT TIME ZONE time_zone) - interval '1 month',
            date_trunc('month', least(until, coalesce(ends_at, until)) AT TIME ZONE time_zone),
            interval '1 month'
        ) AS month
    ),
    anchors AS (
        -- Day 31 of a month that is shorter is its last day.
        SELECT
            month + (least(anchor_day, extract(day FROM month + interval '1 month' - interval '1 day')::integer) - 1) AS day,
            (month + interval '1 month')::date
            + (least(anchor_day, extract(day FROM month + interval '2 months' - interval '1 day')::integer) - 1) AS next_day
        FROM months
    ),
    cycles AS (
        SELECT
            billing.local_instant(day::timestamp, time_zone) AS cycle_start,
            billing.local_instant(next_day::timestamp, time_zone) AS cycle_end
        FROM anchors
    ),
    periods AS (
        SELECT
            greatest(cycle_start, starts_at) AS period_start,
            least(cycle_end, coalesce(ends_at, 'infinity')) AS period_end,
            cycle_start, cycle_end
        FROM cycles
    )
    SELECT
        period_start, period_end, cycle_start, cycle_end,
        to_char(period_start AT TIME ZONE time_zone,
                CASE WHEN extract(day FROM period_start AT TIME ZONE time_zone) = 1 THEN 'YYYY-MM' ELSE 'YYYY-MM-DD' END)
    FROM periods
    WHERE period_start < period_end AND period_start <= until
$$;

CREATE OR REPLACE FUNCTION billing.periods_of(
    starts_at timestamptz, ends_at timestamptz, time_zone text, anchor_day integer, cycle_days integer, cycle_from date,
    until timestamptz
) RETURNS TABLE (
    period_start timestamptz, period_end timestamptz, cycle_start timestamptz, cycle_end timestamptz, period_label text
)
LANGUAGE sql STABLE AS $$
    SELECT period_start, period_end, cycle_start, cycle_end, period_label
    FROM billing.periods_of(starts_at, ends_at, time_zone, anchor_day, until)
    WHERE cycle_days IS NULL
    UNION ALL
    SELECT
        greatest(cycle_start, starts_at), least(cycle_end, coalesce(ends_at, 'infinity')), cycle_start, cycle_end,
        to_char(greatest(cycle_start, starts_at) AT TIME ZONE time_zone, 'YYYY-MM-DD')
    FROM (
        SELECT
            billing.local_instant((cycle_from + number * cycle_days)::timestamp, time_zone) AS cycle_start,
            billing.local_instant((cycle_from + (number + 1) * cycle_days)::timestamp, time_zone) AS cycle_end
        FROM generate_series(
            floor(((starts_at AT TIME ZONE time_zone)::date - cycle_from)::numeric / cycle_days)::integer,
            floor(((least(until, coalesce(ends_at, until)) AT TIME ZONE time_zone)::date - cycle_from)::numeric / cycle_days)::integer
        ) AS number
        WHERE cycle_days IS NOT NULL
    ) AS cycles
    WHERE greatest(cycle_start, starts_at) < least(cycle_end, coalesce(ends_at, 'infinity'))
        AND greatest(cycle_start, starts_at) <= until
$$;

-- Where a team's clock is such a one, usage by its hours, days and months is put together again by the models when they are deployed.
DO $$
BEGIN
    IF EXISTS (
        SELECT FROM (SELECT DISTINCT time_zone FROM billing.teams) AS zones
        CROSS JOIN generate_series('2016-01-01Z'::timestamptz, now(), interval '1 day') AS moment
        WHERE billing.local_start('day', moment, time_zone) <> date_trunc('day', moment, time_zone)
            OR billing.local_end('day', billing.local_start('day', moment, time_zone), time_zone)
            <> date_add(date_trunc('day', moment, time_zone), interval '1 day', time_zone)
            OR extract(minute FROM moment AT TIME ZONE time_zone)
            <> extract(minute FROM (moment + interval '1 day') AT TIME ZONE time_zone)
    ) THEN
        DROP TABLE IF EXISTS marts.fct_usage_hourly, marts.fct_usage_daily, marts.fct_usage_monthly CASCADE;
    END IF;
END $$;

-- A period that is open and began with the second of two midnights begins with the first; it is opened again.
DELETE FROM billing.billing_periods
WHERE finalized_at IS NULL AND takes_usage
    AND (period_start AT TIME ZONE time_zone)::time = '00:00'
    AND period_start <> billing.local_instant(period_start AT TIME ZONE time_zone, time_zone);
