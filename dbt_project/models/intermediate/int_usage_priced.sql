{{ config(tags=['deploy']) }}

-- Each slice takes the price that names most of its dimensions (the lower key where two name as many). None: no price. `part` is
-- what the price prices by itself: an hour or day, a combination of dimensions, or, empty, all that it is for.
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
    usage_by_interval.bucket_window,
    usage_by_interval.quarter_of_week
)
    usage_by_interval.team_id,
    usage_by_interval.subscription_key,
    usage_by_interval.period_start,
    usage_by_interval.meter_id,
    usage_by_interval.interval_from,
    usage_by_interval.dimensions,
    usage_by_interval.quantity,
    usage_by_interval.event_count,
    usage_by_interval.decided_at,
    segments.price_version_id,
    segments.segment_from,
    segments.prices_events or segments.limited_by is not null as tells_apart,
    case
        when segments.limited_by is null then usage_by_interval.member
        else coalesce(usage_by_interval.dimensions ->> segments.limited_by, '')
    end as member,
    case
        when segments.window_unit is not null or usage_by_interval.is_bucketed then usage_by_interval.bucket_window
    end as bucket_window,
    case
        when segments.window_unit is null and segments.group_by is null then ''
        else concat_ws(
            ' ',
            case
                when segments.window_unit is not null
                    then to_char(usage_by_interval.bucket_window at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI"Z"')
            end,
            case
                when segments.group_by is not null then (
                    select coalesce(jsonb_object_agg(dimension, usage_by_interval.dimensions -> dimension), '{}')::text
                    from jsonb_array_elements_text(segments.group_by) as dimension
                    where usage_by_interval.dimensions ? dimension
                )
            end
        )
    end as part
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
    and (segments.hours is null or segments.hours @> usage_by_interval.quarter_of_week)
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
    usage_by_interval.quarter_of_week,
    segments.matched_dimensions desc nulls last,
    segments.price_key asc
