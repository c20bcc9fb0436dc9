{{ config(materialized='table', unlogged=true, tags=['usage'], post_hook='analyze {{ this }}') }}

-- The local hours, days and months in which the queued quarter-hours lie; of a level, which stays as it is until it changes
-- again, also those from there, or from the last run, to the horizon of this one.
with

queue as (
    select * from {{ source('billing', 'buckets_to_meter') }}
),

teams as (
    select * from {{ ref('stg_billing__teams') }}
),

latest_run as (
    select recorded_after, recorded_until
    from {{ source('billing', 'metering_runs') }}
    order by run_id desc
    limit 1
),

-- By key, of the meters of levels alone: the other quarter-hours are not read.
levels as (
    select
        teams.team_id,
        meters.meter_id,
        least(queued.bucket_start, greatest(known.bucket_start, latest_run.recorded_after)) as since,
        latest_run.recorded_until as until
    from {{ ref('stg_billing__meters') }} as meters
    cross join teams
    cross join latest_run
    cross join lateral (
        select min(recorded.bucket_start) as bucket_start
        from {{ ref('int_usage_recorded') }} as recorded
        where recorded.team_id = teams.team_id and recorded.meter_id = meters.meter_id
    ) as known
    cross join lateral (
        select min(queue.bucket_start) as bucket_start
        from queue
        where queue.team_id = teams.team_id and queue.meter_id = meters.meter_id
    ) as queued
    where meters.aggregation = 'weighted_sum'
        and (known.bucket_start is not null or queued.bucket_start is not null)
),

quarter_hours as (
    select team_id, meter_id, bucket_start from queue
    union all
    select levels.team_id, levels.meter_id, moment
    from levels
    cross join lateral generate_series(
        date_bin('15 minutes', levels.since, '2000-01-01Z'), levels.until, interval '15 minutes'
    ) as moment
),

-- Of each quarter-hour and zone once: there are few, and a clock takes longer to read than a row.
clock as materialized (
    select
        time_zone,
        bucket_start,
        billing.local_start('hour', bucket_start, time_zone) as hour_start,
        billing.local_start('day', bucket_start, time_zone) as day_start,
        billing.local_start('month', bucket_start, time_zone) as month_start
    from (
        select distinct
            teams.time_zone,
            quarter_hours.bucket_start
        from quarter_hours
        inner join teams on teams.team_id = quarter_hours.team_id
    ) as zoned
)

select distinct
    quarter_hours.team_id,
    quarter_hours.meter_id,
    clock.hour_start,
    clock.day_start,
    clock.month_start
from quarter_hours
inner join teams on teams.team_id = quarter_hours.team_id
inner join clock
    on clock.time_zone = teams.time_zone
    and clock.bucket_start = quarter_hours.bucket_start
