{{ config(tags=['deploy']) }}

-- Each slice takes the price that names most of its dimensions (the lower key where two name as many). None: no price.
with

usage_by_interval as (
    select * from {{ ref('int_usage_by_interval') }}
),

segments as (
    select * from {{ ref('int_price_segments') }}
)

select distinct on (
    usage_by_interval.team_id,
    usage_by_interval.subscription_key,
    usage_by_interval.period_start,
    usage_by_interval.plan_id,
    usage_by_interval.plan_from,
    usage_by_interval.meter_id,
    usage_by_interval.interval_from,
    usage_by_interval.dimensions,
    usage_by_interval.member,
    usage_by_interval.bucket_window
)
    usage_by_interval.team_id,
    usage_by_interval.subscription_key,
    usage_by_interval.period_start,
    usage_by_interval.meter_id,
    usage_by_interval.interval_from,
    usage_by_interval.dimensions,
    usage_by_interval.member,
    usage_by_interval.bucket_window,
    usage_by_interval.quantity,
    usage_by_interval.event_count,
    usage_by_interval.decided_at,
    segments.price_version_id,
    segments.segment_from
from usage_by_interval
left join segments
    on segments.team_id = usage_by_interval.team_id
    and segments.subscription_key = usage_by_interval.subscription_key
    and segments.period_start = usage_by_interval.period_start
    and segments.plan_id = usage_by_interval.plan_id
    and segments.plan_from = usage_by_interval.plan_from
    and segments.meter_id = usage_by_interval.meter_id
    and segments.segment_from <= usage_by_interval.interval_from
    and segments.segment_until > usage_by_interval.interval_from
    and usage_by_interval.dimensions @> segments.match
order by
    usage_by_interval.team_id,
    usage_by_interval.subscription_key,
    usage_by_interval.period_start,
    usage_by_interval.plan_id,
    usage_by_interval.plan_from,
    usage_by_interval.meter_id,
    usage_by_interval.interval_from,
    usage_by_interval.dimensions,
    usage_by_interval.member,
    usage_by_interval.bucket_window,
    segments.matched_dimensions desc nulls last,
    segments.price_key asc
