{{ config(tags=['deploy']) }}

-- Usage of a period, cut wherever any price of the meter changes: within an interval each slice has one price version. A slice
-- is one row, but for meters that tell members or buckets apart, and for prices that tell hours apart: those stay apart until
-- they are put together (combine_usage.sql).
with

segments as (
    select * from {{ ref('int_price_segments') }}
),

usage_known as (
    select * from {{ ref('int_usage_known') }}
),

meters as (
    select * from {{ ref('stg_billing__meters') }}
),

teams as (
    select * from {{ ref('stg_billing__teams') }}
),

starts as (
    select
        team_id,
        subscription_key,
        period_start,
        plan_id,
        plan_from,
        meter_id,
        segment_from as interval_from,
        max(segment_until) as segment_until,
        max(window_unit) as window_unit,
        bool_or(hours is not null) as has_hours
    from segments
    group by team_id, subscription_key, period_start, plan_id, plan_from, meter_id, segment_from
),

intervals as (
    select
        team_id,
        subscription_key,
        period_start,
        plan_id,
        plan_from,
        meter_id,
        interval_from,
        coalesce(
            lead(interval_from) over (of_a_meter order by interval_from), max(segment_until) over of_a_meter
        ) as interval_until,
        max(window_unit) over of_a_meter as window_unit,
        bool_or(has_hours) over of_a_meter as has_hours
    from starts
    window of_a_meter as (partition by team_id, subscription_key, period_start, plan_id, plan_from, meter_id)
)

select
    intervals.team_id,
    intervals.subscription_key,
    intervals.period_start,
    intervals.plan_id,
    intervals.plan_from,
    intervals.meter_id,
    intervals.interval_from,
    usage_known.dimensions,
    usage_known.member,
    meters.aggregation = 'bucketed_max' as is_bucketed,
    coalesce(
        {{ bucket_window('usage_known', 'meters', 'teams') }},
        case
            when intervals.window_unit is not null
                then billing.local_start(intervals.window_unit, usage_known.bucket_start, teams.time_zone)
        end
    ) as bucket_window,
    case when intervals.has_hours then {{ quarter_of_week('usage_known.bucket_start', 'teams.time_zone') }} end as quarter_of_week,
    case meters.aggregation
        when 'weighted_sum'
            then sum({{ quantity_seconds('usage_known', 'intervals.interval_from', 'intervals.interval_until') }})
        else {{ combined('meters.aggregation', 'usage_known') }}
    end as quantity,
    sum(usage_known.event_count) filter (where usage_known.bucket_start >= intervals.interval_from) as event_count,
    max(usage_known.decided_at) as decided_at
from intervals
inner join meters on meters.meter_id = intervals.meter_id
inner join teams on teams.team_id = intervals.team_id
inner join usage_known
    on usage_known.team_id = intervals.team_id
    and usage_known.meter_id = intervals.meter_id
    and {{ of_asked_team('usage_known.team_id') }}
    and usage_known.bucket_start >= {{ usage_from() }}
    and usage_known.bucket_start < intervals.interval_until
    and (usage_known.bucket_start >= intervals.interval_from or meters.aggregation = 'weighted_sum')
group by
    intervals.team_id,
    intervals.subscription_key,
    intervals.period_start,
    intervals.plan_id,
    intervals.plan_from,
    intervals.meter_id,
    intervals.interval_from,
    usage_known.dimensions,
    usage_known.member,
    bucket_window,
    quarter_of_week,
    meters.aggregation
