-- Billing periods as a function of a subscription's facts, so that they can be told as of any moment.

CREATE FUNCTION billing.periods_of(
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
        SELECT day::timestamp AT TIME ZONE time_zone AS cycle_start, next_day::timestamp AT TIME ZONE time_zone AS cycle_end
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
COMMENT ON FUNCTION billing.periods_of(timestamptz, timestamptz, text, integer, timestamptz) IS
    'The half-open periods of a subscription that have begun by `until`: from its anchor day to the next in its own zone, cut '
    'where the subscription starts and ends. The cycle is the period before it was cut.';
