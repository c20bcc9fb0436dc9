{{ config(materialized='view', tags=['deploy']) }}

-- Minutes are for dashboards, of a team and the last hours: they are read from raw events by (team_id, occurred_at) when somebody
-- asks, cost the hourly run nothing, and are as fresh as what has landed. Ask by team_id, and by minute_start for less than all.
-- A minute is the same in every zone, since each offset is a multiple of 15 minutes.
with

meters as (
    select * from {{ ref('stg_billing__meters') }}
),

minutes as not materialized (
    select
        teams.team_id,
        teams.time_zone,
        minute.bucket_start
    from {{ ref('stg_billing__teams') }} as teams
    cross join lateral generate_series(
        {{ bucket_of(as_of_now() ~ ' - ' ~ minutes_kept()) }}, {{ as_of_now() }}, interval '1 minute'
    ) as minute (bucket_start)
),

metered_events as (
    select
        minutes.team_id,
        minutes.bucket_start,
        minutes.time_zone,
        meters.meter_id,
        meters.aggregation,
        meters.keeps_events,
        meters.rounding,
        meters.precision,
        {{ dimension_slice('events', 'meters') }} as dimensions,
        {{ meter_member('events', 'meters') }} as member,
        events.occurred_at,
        {{ meter_value('events', 'meters') }} as metered_value,
        case
            when meters.aggregation in ('latest', 'unique_count') then {{ deciding_event('events', 'meters') }}
        end as deciding
    from minutes
    cross join lateral (
        select *
        from {{ ref('stg_landing__usage_events') }} as landed
        where landed.team_id = minutes.team_id
            and landed.occurred_at >= minutes.bucket_start
            and landed.occurred_at < minutes.bucket_start + interval '1 minute'
        offset 0
    ) as events
    inner join meters on meters.event_name = events.event_name
    where meters.aggregation <> 'weighted_sum'
        and {{ passes_filters('events', 'meters') }}
),

usage_measured as (
    select
        team_id,
        meter_id,
        bucket_start,
        time_zone,
        aggregation,
        rounding,
        precision,
        dimensions,
        member,
        {{ measured() }}
    from metered_events
    group by team_id, meter_id, bucket_start, time_zone, aggregation, rounding, precision, dimensions, member
),

-- A level is its mean over each minute: what quarter-hours carry to the first of them, and the changes since.
queue as not materialized (
    select
        minutes.team_id,
        meters.meter_id,
        minutes.bucket_start
    from minutes
    cross join meters
    where meters.aggregation = 'weighted_sum'
),

level_events as (
    {{ metered_events(width='1 minute', in_turn=false) }}
),

level_changes as not materialized (
    select
        team_id,
        meter_id,
        bucket_start,
        dimensions,
        sum(metered_value) as quantity,
        sum(metered_value * extract(epoch from occurred_at - bucket_start)) as passed_quantity_seconds,
        count(*) as event_count
    from level_events
    group by team_id, meter_id, bucket_start, dimensions
),

levels as (
    select
        team_id,
        meter_id,
        dimensions,
        sum(quantity) as quantity
    from (
        select
            recorded.team_id,
            recorded.meter_id,
            recorded.dimensions,
            recorded.quantity
        from meters
        inner join {{ ref('int_usage_recorded') }} as recorded on recorded.meter_id = meters.meter_id
        where meters.aggregation = 'weighted_sum'
            and recorded.bucket_start < {{ bucket_of(as_of_now() ~ ' - ' ~ minutes_kept()) }}
        union all
        select
            team_id,
            meter_id,
            dimensions,
            0
        from level_changes
    ) as known
    group by team_id, meter_id, dimensions
),

usage_levelled as (
    select
        levels.team_id,
        levels.meter_id,
        minutes.bucket_start,
        minutes.time_zone,
        levels.dimensions,
        levels.quantity
        + coalesce(sum(level_changes.quantity) over (
            partition by levels.team_id, levels.meter_id, levels.dimensions
            order by minutes.bucket_start
            rows unbounded preceding
        ), 0)
        - coalesce(level_changes.passed_quantity_seconds, 0) / 60 as quantity,
        coalesce(level_changes.event_count, 0) as event_count
    from levels
    inner join minutes on minutes.team_id = levels.team_id
    left join level_changes
        on level_changes.team_id = levels.team_id
        and level_changes.meter_id = levels.meter_id
        and level_changes.dimensions = levels.dimensions
        and level_changes.bucket_start = minutes.bucket_start
)

select
    team_id,
    meter_id,
    bucket_start::timestamptz as minute_start,
    (bucket_start at time zone time_zone)::timestamp as local_minute,
    dimensions,
    ({{ rounded_quantity(finished('aggregation', 'usage_measured'), 'usage_measured') }})::numeric(100, 12) as quantity,
    sum(event_count)::bigint as event_count
from usage_measured
group by team_id, meter_id, bucket_start, time_zone, dimensions, aggregation, rounding, precision
union all
select
    usage_levelled.team_id,
    usage_levelled.meter_id,
    usage_levelled.bucket_start::timestamptz,
    (usage_levelled.bucket_start at time zone usage_levelled.time_zone)::timestamp,
    usage_levelled.dimensions,
    ({{ rounded_quantity('usage_levelled.quantity', 'meters') }})::numeric(100, 12),
    usage_levelled.event_count::bigint
from usage_levelled
inner join meters on meters.meter_id = usage_levelled.meter_id
