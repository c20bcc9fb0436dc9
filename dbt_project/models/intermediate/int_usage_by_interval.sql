{{ config(tags=['deploy']) }}

-- Usage of a period, cut wherever any price of the meter changes: within an interval each slice has one price version. A slice
-- is one row, but for meters that tell members or buckets apart: those stay apart until they are put together (combine_usage.sql).
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
    select distinct team_id, subscription_key, period_start, plan_id, plan_from, meter_id, segment_from as interval_from
    from segments
),

ends as (
    select team_id, subscription_key, period_start, plan_id, plan_from, meter_id, max(segment_until) as plan_until
    from segments
    group by team_id, subscription_key, period_start, plan_id, plan_from, meter_id
),

intervals as (
    select
        starts.team_id,
        starts.subscription_key,
        starts.period_start,
        starts.plan_id,
        starts.plan_from,
        starts.meter_id,
        starts.interval_from,
        coalesce(
            lead(starts.interval_from) over (
                partition by
                    starts.team_id, starts.subscription_key, starts.period_start, starts.plan_id, starts.plan_from,
                    starts.meter_id
                order by starts.interval_from
            ),
            ends.plan_until
        ) as interval_until
    from starts
    inner join ends using (team_id, subscription_key, period_start, plan_id, plan_from, meter_id)
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
    {{ bucket_window('usage_known', 'meters', 'teams') }} as bucket_window,
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
    meters.aggregation
