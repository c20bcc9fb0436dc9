{{ config(tags=['deploy']) }}

-- The local hours, days and months in which the queued quarter-hours lie.
with

queue as (
    select * from {{ source('billing', 'buckets_to_meter') }}
),

teams as (
    select * from {{ ref('stg_billing__teams') }}
)

select distinct
    queue.team_id,
    queue.meter_id,
    date_trunc('hour', queue.bucket_start, teams.time_zone) as hour_start,
    date_trunc('day', queue.bucket_start, teams.time_zone) as day_start,
    date_trunc('month', queue.bucket_start, teams.time_zone) as month_start
from queue
inner join teams on teams.team_id = queue.team_id
