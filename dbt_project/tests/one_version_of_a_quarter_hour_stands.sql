{{ config(tags=['usage']) }}
-- Of each quarter-hour and slice that was touched, one version stands, and versions follow one another without overlap.
select
    buckets.team_id,
    buckets.meter_id,
    buckets.bucket_start,
    buckets.dimensions,
    buckets.member
from {{ ref('int_usage_buckets') }} as buckets
inner join {{ source('billing', 'buckets_to_meter') }} as queue
    on queue.team_id = buckets.team_id
    and queue.meter_id = buckets.meter_id
    and queue.bucket_start = buckets.bucket_start
group by buckets.team_id, buckets.meter_id, buckets.bucket_start, buckets.dimensions, buckets.member
having count(*) filter (where buckets.recorded_to = 'infinity') > 1
    or range_agg(tstzrange(buckets.recorded_from, buckets.recorded_to)) is null
    or bool_or(buckets.recorded_from >= buckets.recorded_to)
