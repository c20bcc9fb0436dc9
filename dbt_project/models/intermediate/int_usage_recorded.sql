{{ config(tags=['deploy']) }}

-- What metering has worked in as of the session's moment.
select
    team_id,
    meter_id,
    bucket_start,
    dimensions,
    member,
    event_count,
    quantity,
    passed_quantity_seconds,
    decided_at
from {{ ref('int_usage_buckets') }}
where recorded_from <= {{ as_of() }}
    and (recorded_to > {{ as_of() }} or recorded_to = 'infinity')
