{{ config(tags=['usage']) }}
-- For each month of usage that was touched, of a meter that adds up, the hours, the days and the month add up to its quarter-hours.
with

touched as (
    select distinct
        windows.team_id,
        windows.meter_id,
        windows.month_start,
        billing.local_end('month', windows.month_start, teams.time_zone) as month_end
    from {{ ref('int_usage_windows_queued') }} as windows
    inner join {{ ref('stg_billing__teams') }} as teams on teams.team_id = windows.team_id
    inner join {{ ref('stg_billing__meters') }} as meters on meters.meter_id = windows.meter_id and meters.is_additive
),

totals as (
    select
        touched.*,
        (
            select coalesce(sum(buckets.quantity), 0) from {{ ref('int_usage_recorded') }} as buckets
            where buckets.team_id = touched.team_id and buckets.meter_id = touched.meter_id
                and buckets.bucket_start >= touched.month_start and buckets.bucket_start < touched.month_end
        ) as bucket_quantity,
        (
            select coalesce(sum(hours.quantity), 0) from {{ ref('fct_usage_hourly') }} as hours
            where hours.team_id = touched.team_id and hours.meter_id = touched.meter_id
                and hours.hour_start >= touched.month_start and hours.hour_start < touched.month_end
        ) as hourly_quantity,
        (
            select coalesce(sum(days.quantity), 0) from {{ ref('fct_usage_daily') }} as days
            where days.team_id = touched.team_id and days.meter_id = touched.meter_id
                and days.day_start >= touched.month_start and days.day_start < touched.month_end
        ) as daily_quantity,
        (
            select coalesce(sum(months.quantity), 0) from {{ ref('fct_usage_monthly') }} as months
            where months.team_id = touched.team_id and months.meter_id = touched.meter_id
                and months.month_start = touched.month_start
        ) as monthly_quantity
    from touched
)

select *
from totals
where bucket_quantity <> hourly_quantity or bucket_quantity <> daily_quantity or bucket_quantity <> monthly_quantity
