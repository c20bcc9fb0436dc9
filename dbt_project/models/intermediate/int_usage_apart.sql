{{ config(tags=['deploy']) }}

-- Usage in billing periods of meters that don't add up: of all of a period, of each slice in it and of each local day in it, every
-- one put together from quarter-hours by itself. `dimensions` and `local_day` are null where a row is not about one. Ask by team.
with

periods as not materialized (
    select * from {{ ref('int_billing_periods') }}
    where takes_usage
),

usage_known as (
    select * from {{ ref('int_usage_known') }}
),

meters as (
    select * from {{ ref('stg_billing__meters') }}
    where not is_additive
),

teams as (
    select * from {{ ref('stg_billing__teams') }}
),

usage_combined as (
    select
        periods.team_id,
        periods.subscription_key,
        periods.period_start,
        meters.meter_id,
        meters.aggregation,
        meters.rounding,
        meters.precision,
        usage_known.dimensions,
        (usage_known.bucket_start at time zone periods.time_zone)::date as local_day,
        {{ combined('meters.aggregation', 'usage_known') }} as quantity,
        sum(usage_known.event_count) as event_count,
        max(usage_known.decided_at) as decided_at
    from periods
    inner join teams on teams.team_id = periods.team_id
    inner join usage_known
        on usage_known.team_id = periods.team_id
        and usage_known.bucket_start >= periods.period_start
        and usage_known.bucket_start < periods.period_end
    inner join meters on meters.meter_id = usage_known.meter_id
    where meters.aggregation <> 'weighted_sum'
    group by
        periods.team_id, periods.subscription_key, periods.period_start, meters.meter_id, meters.aggregation, meters.rounding,
        meters.precision, usage_known.member, {{ bucket_window('usage_known', 'meters', 'teams') }},
        grouping sets ((), (usage_known.dimensions), ((usage_known.bucket_start at time zone periods.time_zone)::date))
),

-- A level is its mean: over the whole cycle, as the bill has it, and over each day that has begun.
level_windows as (
    select
        team_id,
        subscription_key,
        period_start,
        null::date as local_day,
        period_start as window_start,
        period_end as window_end,
        cycle_end - cycle_start as length
    from periods
    union all
    select
        periods.team_id,
        periods.subscription_key,
        periods.period_start,
        local_day::date,
        greatest(billing.local_instant(local_day, periods.time_zone), periods.period_start),
        least(billing.local_instant(local_day + interval '1 day', periods.time_zone), periods.period_end),
        least(billing.local_instant(local_day + interval '1 day', periods.time_zone), periods.period_end)
        - greatest(billing.local_instant(local_day, periods.time_zone), periods.period_start)
    from periods
    cross join lateral generate_series(
        date_trunc('day', periods.period_start at time zone periods.time_zone),
        (least(periods.period_end, {{ as_of_now() }}) - interval '1 microsecond') at time zone periods.time_zone,
        interval '1 day'
    ) as local_day
),

levels as (
    select
        windows.team_id,
        windows.subscription_key,
        windows.period_start,
        meters.meter_id,
        meters.rounding,
        meters.precision,
        usage_known.dimensions,
        windows.local_day,
        grouping(usage_known.dimensions) = 0 as is_slice,
        sum({{ quantity_seconds('usage_known', 'windows.window_start', 'windows.window_end') }})
        / extract(epoch from windows.length) as quantity,
        coalesce(sum(usage_known.event_count) filter (where usage_known.bucket_start >= windows.window_start), 0) as event_count
    from level_windows as windows
    inner join usage_known
        on usage_known.team_id = windows.team_id
        and usage_known.bucket_start < windows.window_end
    inner join meters on meters.meter_id = usage_known.meter_id
    where meters.aggregation = 'weighted_sum'
    group by
        windows.team_id, windows.subscription_key, windows.period_start, windows.local_day, windows.length, meters.meter_id,
        meters.rounding, meters.precision,
        grouping sets ((), (usage_known.dimensions))
)

select
    team_id,
    subscription_key,
    period_start,
    meter_id,
    dimensions,
    local_day,
    {{ rounded_quantity(finished('aggregation', 'usage_combined'), 'usage_combined') }} as quantity,
    sum(event_count)::bigint as event_count
from usage_combined
group by team_id, subscription_key, period_start, meter_id, dimensions, local_day, aggregation, rounding, precision
union all
select
    team_id,
    subscription_key,
    period_start,
    meter_id,
    dimensions,
    local_day,
    {{ rounded_quantity('quantity', 'levels') }},
    event_count::bigint
from levels
-- By slice a level is shown for all of the period.
where not (is_slice and local_day is not null)
