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

cut as (
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
),

intervals as (
    select
        cut.*,
        meters.aggregation,
        meters.bucket_unit,
        teams.time_zone,
        case
            when {{ rates_queued_periods() }}
                and meters.is_additive and not meters.keeps_events and cut.window_unit is null and not cut.has_hours
                then case
                    when cut.interval_from = billing.local_start('month', cut.interval_from, teams.time_zone)
                        and cut.interval_until = billing.local_start('month', cut.interval_until, teams.time_zone) then 'month'
                    when cut.interval_from = billing.local_start('day', cut.interval_from, teams.time_zone)
                        and cut.interval_until = billing.local_start('day', cut.interval_until, teams.time_zone) then 'day'
                end
        end as made_of
    from cut
    inner join meters on meters.meter_id = cut.meter_id
    inner join teams on teams.team_id = cut.team_id
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
    intervals.aggregation = 'bucketed_max' as is_bucketed,
    coalesce(
        {{ bucket_window('usage_known', 'intervals', 'intervals') }},
        case
            when intervals.window_unit is not null
                then billing.local_start(intervals.window_unit, usage_known.bucket_start, intervals.time_zone)
        end
    ) as bucket_window,
    case when intervals.has_hours then {{ quarter_of_week('usage_known.bucket_start', 'intervals.time_zone') }} end as quarter_of_week,
    case intervals.aggregation
        when 'weighted_sum'
            then sum({{ quantity_seconds('usage_known', 'intervals.interval_from', 'intervals.interval_until') }})
        else {{ combined('intervals.aggregation', 'usage_known') }}
    end as quantity,
    sum(usage_known.event_count) filter (where usage_known.bucket_start >= intervals.interval_from) as event_count,
    max(usage_known.decided_at) as decided_at
from intervals
inner join usage_known
    on usage_known.team_id = intervals.team_id
    and usage_known.meter_id = intervals.meter_id
    and {{ of_asked_team('usage_known.team_id') }}
    and usage_known.bucket_start >= {{ usage_from() }}
    and usage_known.bucket_start < intervals.interval_until
    and (usage_known.bucket_start >= intervals.interval_from or intervals.aggregation = 'weighted_sum')
where intervals.made_of is null
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
    intervals.aggregation
union all
select
    intervals.team_id,
    intervals.subscription_key,
    intervals.period_start,
    intervals.plan_id,
    intervals.plan_from,
    intervals.meter_id,
    intervals.interval_from,
    windows.dimensions,
    ''::text as member,
    false as is_bucketed,
    null::timestamptz as bucket_window,
    null::integer as quarter_of_week,
    sum(windows.quantity) as quantity,
    sum(windows.event_count) as event_count,
    null::timestamptz as decided_at
from intervals
inner join {{ ref('fct_usage_monthly') }} as windows
    on windows.team_id = intervals.team_id
    and windows.meter_id = intervals.meter_id
    and windows.month_start >= {{ usage_from() }}
    and windows.month_start >= intervals.interval_from
    and windows.month_start < intervals.interval_until
where {{ rates_queued_periods() }} and intervals.made_of = 'month'
group by
    intervals.team_id,
    intervals.subscription_key,
    intervals.period_start,
    intervals.plan_id,
    intervals.plan_from,
    intervals.meter_id,
    intervals.interval_from,
    windows.dimensions
union all
select
    intervals.team_id,
    intervals.subscription_key,
    intervals.period_start,
    intervals.plan_id,
    intervals.plan_from,
    intervals.meter_id,
    intervals.interval_from,
    windows.dimensions,
    ''::text as member,
    false as is_bucketed,
    null::timestamptz as bucket_window,
    null::integer as quarter_of_week,
    sum(windows.quantity) as quantity,
    sum(windows.event_count) as event_count,
    null::timestamptz as decided_at
from intervals
inner join {{ ref('fct_usage_daily') }} as windows
    on windows.team_id = intervals.team_id
    and windows.meter_id = intervals.meter_id
    and windows.day_start >= {{ usage_from() }}
    and windows.day_start >= intervals.interval_from
    and windows.day_start < intervals.interval_until
where {{ rates_queued_periods() }} and intervals.made_of = 'day'
group by
    intervals.team_id,
    intervals.subscription_key,
    intervals.period_start,
    intervals.plan_id,
    intervals.plan_from,
    intervals.meter_id,
    intervals.interval_from,
    windows.dimensions
