{{ config(tags=['deploy']) }}

-- Usage of a period, cut wherever any price of the meter changes: within an interval each slice has one price version.
with

segments as (
    select * from {{ ref('int_price_segments') }}
),

usage_known as (
    select * from {{ ref('int_usage_known') }}
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
    sum(usage_known.quantity) as quantity,
    sum(usage_known.event_count) as event_count
from intervals
inner join usage_known
    on usage_known.team_id = intervals.team_id
    and usage_known.meter_id = intervals.meter_id
    and usage_known.bucket_start >= intervals.interval_from
    and usage_known.bucket_start < intervals.interval_until
group by
    intervals.team_id,
    intervals.subscription_key,
    intervals.period_start,
    intervals.plan_id,
    intervals.plan_from,
    intervals.meter_id,
    intervals.interval_from,
    usage_known.dimensions
