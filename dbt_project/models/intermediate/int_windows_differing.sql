{{ config(tags=['deploy']) }}

-- What a backfill has to make again: the quarter-hours of a range, named by the session (macros/compared.sql), in which what raw events
-- say differs from what stands, and, for each hour, day or month in it that is not the sum of its parts, its first quarter-hour. What is
-- as it should be is only looked at. Of meters that don't add up, or keep events, all quarter-hours: they are made again to be compared.
with

-- The meters whose windows are sums, and whether they count every event by its quantity as it is.
adding as (
    select
        *,
        filters = '{}'::jsonb
        and cardinality(dimensions) = 0
        and (aggregation = 'count' or (value_property is null and multiplier = 1)) as is_plain
    from {{ ref('stg_billing__meters') }}
    where is_additive and not keeps_events
),

teams as (
    select * from {{ ref('stg_billing__teams') }}
),

-- Not materialized, as what is known below: only the rows of the range are read.
events as not materialized (
    select * from {{ ref('stg_landing__usage_events') }}
    where occurred_at >= {{ compared_from() }} and occurred_at < {{ compared_until() }}
),

usage_known as not materialized (
    select * from {{ ref('int_usage_buckets') }}
    where {{ is_known_version() }}
),

-- Most meters are plain: their events are added up before they meet them, so that nothing of a meter is looked at for each.
events_added as (
    select
        team_id,
        event_name,
        {{ bucket_of('occurred_at') }} as bucket_start,
        count(*) as event_count,
        sum(quantity) filter (where abs(quantity) <= {{ most_of_an_event() }}) as quantity
    from events
    where event_name in (select adding.event_name from adding where adding.is_plain)
    group by 1, 2, 3
),

counted as (
    select
        events_added.team_id,
        adding.meter_id,
        events_added.bucket_start,
        '{}'::jsonb as dimensions,
        events_added.event_count,
        round(
            case when adding.aggregation = 'count' then events_added.event_count else coalesce(events_added.quantity, 0) end, 12
        ) as quantity
    from events_added
    inner join adding on adding.event_name = events_added.event_name and adding.is_plain
    union all
    select
        events.team_id,
        adding.meter_id,
        {{ bucket_of('events.occurred_at') }} as bucket_start,
        {{ dimension_slice('events', 'adding') }} as dimensions,
        count(*) as event_count,
        round(
            case when adding.aggregation = 'count' then count(*) else coalesce(sum({{ meter_value('events', 'adding') }}), 0) end, 12
        ) as quantity
    from events
    inner join adding on adding.event_name = events.event_name and not adding.is_plain
    where {{ passes_filters('events', 'adding') }}
    group by events.team_id, adding.meter_id, adding.aggregation, 3, 4
),

clock as materialized (
    select
        zones.time_zone,
        moment as bucket_start,
        billing.local_start('hour', moment, zones.time_zone) as hour_start
    from (select distinct teams.time_zone from teams) as zones
    cross join lateral generate_series(
        {{ compared_from() }} - interval '2 hours', {{ compared_until() }} + interval '2 hours', interval '15 minutes'
    ) as moment
),

days as (
    select
        added.team_id,
        added.meter_id,
        billing.local_instant(added.on_clock, teams.time_zone) as day_start,
        added.dimensions,
        added.event_count,
        added.quantity
    from (
        select
            hourly.team_id,
            hourly.meter_id,
            date_trunc('day', hourly.local_hour) as on_clock,
            hourly.dimensions,
            sum(hourly.event_count) as event_count,
            sum(hourly.quantity) as quantity
        from {{ ref('fct_usage_hourly') }} as hourly
        where hourly.hour_start >= {{ compared_from() }} - interval '25 hours'
            and hourly.hour_start < {{ compared_until() }} + interval '25 hours'
        group by 1, 2, 3, 4
    ) as added
    inner join teams on teams.team_id = added.team_id
),

months as (
    select
        added.team_id,
        added.meter_id,
        billing.local_instant(added.on_clock, teams.time_zone) as month_start,
        added.dimensions,
        added.event_count,
        added.quantity
    from (
        select
            daily.team_id,
            daily.meter_id,
            date_trunc('month', daily.local_day) as on_clock,
            daily.dimensions,
            sum(daily.event_count) as event_count,
            sum(daily.quantity) as quantity
        from {{ ref('fct_usage_daily') }} as daily
        where daily.day_start >= {{ compared_from() }} - interval '32 days'
            and daily.day_start < {{ compared_until() }} + interval '32 days'
        group by 1, 2, 3, 4
    ) as added
    inner join teams on teams.team_id = added.team_id
),

-- What each window is by its parts, and less what it is said to be: nothing is left of those that are right.
laid as (
    select
        team_id,
        meter_id,
        'quarter' as unit,
        bucket_start as window_start,
        dimensions,
        event_count,
        quantity
    from counted
    union all
    select
        team_id,
        meter_id,
        'quarter',
        bucket_start,
        dimensions,
        -event_count,
        -quantity
    from usage_known
    where bucket_start >= {{ compared_from() }} and bucket_start < {{ compared_until() }}
    union all
    select
        usage_known.team_id,
        usage_known.meter_id,
        'hour',
        clock.hour_start,
        usage_known.dimensions,
        usage_known.event_count,
        usage_known.quantity
    from usage_known
    inner join teams on teams.team_id = usage_known.team_id
    inner join clock
        on clock.time_zone = teams.time_zone
        and clock.bucket_start = usage_known.bucket_start
    where usage_known.bucket_start >= {{ compared_from() }} - interval '1 hour'
        and usage_known.bucket_start < {{ compared_until() }} + interval '1 hour'
        and clock.hour_start >= {{ compared_from() }} - interval '1 hour' and clock.hour_start < {{ compared_until() }}
    union all
    select
        team_id,
        meter_id,
        'hour',
        hour_start,
        dimensions,
        -event_count,
        -quantity
    from {{ ref('fct_usage_hourly') }}
    where hour_start >= {{ compared_from() }} - interval '1 hour' and hour_start < {{ compared_until() }}
    union all
    select
        team_id,
        meter_id,
        'day',
        day_start,
        dimensions,
        event_count,
        quantity
    from days
    where day_start >= {{ compared_from() }} - interval '25 hours' and day_start < {{ compared_until() }}
    union all
    select
        team_id,
        meter_id,
        'day',
        day_start,
        dimensions,
        -event_count,
        -quantity
    from {{ ref('fct_usage_daily') }}
    where day_start >= {{ compared_from() }} - interval '25 hours' and day_start < {{ compared_until() }}
    union all
    select
        team_id,
        meter_id,
        'month',
        month_start,
        dimensions,
        event_count,
        quantity
    from months
    where month_start >= {{ compared_from() }} - interval '32 days' and month_start < {{ compared_until() }}
    union all
    select
        team_id,
        meter_id,
        'month',
        month_start,
        dimensions,
        -event_count,
        -quantity
    from {{ ref('fct_usage_monthly') }}
    where month_start >= {{ compared_from() }} - interval '32 days' and month_start < {{ compared_until() }}
)

select
    laid.team_id,
    laid.meter_id,
    laid.window_start as bucket_start
from laid
inner join adding on adding.meter_id = laid.meter_id
group by laid.team_id, laid.meter_id, laid.unit, laid.window_start, laid.dimensions
having sum(laid.event_count) <> 0 or sum(laid.quantity) <> 0
union
select
    events.team_id,
    meters.meter_id,
    {{ bucket_of('events.occurred_at') }}
from events
inner join {{ ref('stg_billing__meters') }} as meters
    on meters.event_name = events.event_name
    and (not meters.is_additive or meters.keeps_events)
union
select
    usage_known.team_id,
    usage_known.meter_id,
    usage_known.bucket_start
from usage_known
inner join {{ ref('stg_billing__meters') }} as meters
    on meters.meter_id = usage_known.meter_id
    and (not meters.is_additive or meters.keeps_events)
where usage_known.bucket_start >= {{ compared_from() }} and usage_known.bucket_start < {{ compared_until() }}
