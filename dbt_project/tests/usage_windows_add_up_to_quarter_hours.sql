{{ config(tags=['usage']) }}
-- Of a meter that adds up, each hour that was touched is the sum of its quarter-hours, each day of its hours, each month of its
-- days. A window is looked up by key, and only in the next smaller ones: a month of them has thousands of quarter-hours.
with

touched as (
    select windows.*, teams.time_zone
    from {{ ref('int_usage_windows_queued') }} as windows
    inner join {{ ref('stg_billing__teams') }} as teams on teams.team_id = windows.team_id
    inner join {{ ref('stg_billing__meters') }} as meters on meters.meter_id = windows.meter_id and meters.is_additive
),

hours as (
    select
        'hour' as unit,
        touched.team_id,
        touched.meter_id,
        touched.hour_start as window_start,
        (
            select coalesce(sum(hourly.quantity), 0) from {{ ref('fct_usage_hourly') }} as hourly
            where hourly.team_id = touched.team_id and hourly.meter_id = touched.meter_id
                and hourly.hour_start = touched.hour_start
        ) as quantity,
        (
            select coalesce(sum(buckets.quantity), 0) from {{ ref('int_usage_recorded') }} as buckets
            where buckets.team_id = touched.team_id and buckets.meter_id = touched.meter_id
                and buckets.bucket_start >= touched.hour_start
                and buckets.bucket_start < billing.local_end('hour', touched.hour_start, touched.time_zone)
        ) as parts_quantity
    from touched
),

days as (
    select
        'day' as unit,
        touched.team_id,
        touched.meter_id,
        touched.day_start as window_start,
        (
            select coalesce(sum(daily.quantity), 0) from {{ ref('fct_usage_daily') }} as daily
            where daily.team_id = touched.team_id and daily.meter_id = touched.meter_id
                and daily.day_start = touched.day_start
        ) as quantity,
        (
            select coalesce(sum(hourly.quantity), 0) from {{ ref('fct_usage_hourly') }} as hourly
            where hourly.team_id = touched.team_id and hourly.meter_id = touched.meter_id
                and hourly.hour_start >= touched.day_start
                and hourly.hour_start < billing.local_end('day', touched.day_start, touched.time_zone)
        ) as parts_quantity
    from (select distinct team_id, meter_id, day_start, time_zone from touched) as touched
),

months as (
    select
        'month' as unit,
        touched.team_id,
        touched.meter_id,
        touched.month_start as window_start,
        (
            select coalesce(sum(monthly.quantity), 0) from {{ ref('fct_usage_monthly') }} as monthly
            where monthly.team_id = touched.team_id and monthly.meter_id = touched.meter_id
                and monthly.month_start = touched.month_start
        ) as quantity,
        (
            select coalesce(sum(daily.quantity), 0) from {{ ref('fct_usage_daily') }} as daily
            where daily.team_id = touched.team_id and daily.meter_id = touched.meter_id
                and daily.day_start >= touched.month_start
                and daily.day_start < billing.local_end('month', touched.month_start, touched.time_zone)
        ) as parts_quantity
    from (select distinct team_id, meter_id, month_start, time_zone from touched) as touched
)

select * from hours where quantity <> parts_quantity
union all
select * from days where quantity <> parts_quantity
union all
select * from months where quantity <> parts_quantity
