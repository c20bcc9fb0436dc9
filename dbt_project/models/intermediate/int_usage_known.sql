{{ config(tags=['deploy']) }}

-- What metering has worked in as of the session's moment. In a session that has handed in what metering has not worked in yet,
-- that stands in place of the windows it is about. Conditions on the setting alone are asked once for each part and not for
-- each row, so that a run does not pay for what it does not ask.
select
    team_id,
    meter_id,
    bucket_start,
    dimensions,
    event_count,
    quantity
from {{ ref('int_usage_buckets') }}
where {{ unmetered_setting() }} is null
    and recorded_from <= {{ as_of() }}
    and (recorded_to > {{ as_of() }} or recorded_to = 'infinity')
union all
select
    team_id,
    meter_id,
    bucket_start,
    dimensions,
    event_count,
    quantity
from {{ ref('int_usage_buckets') }}
where {{ unmetered_setting() }} is not null
    and recorded_to = 'infinity'
    and (team_id, meter_id, bucket_start) not in (
        select windows.team_id, windows.meter_id, windows.bucket_start
        from {{ unmetered_rows('windows') }}
    )
union all
select
    team_id,
    meter_id,
    bucket_start,
    dimensions,
    event_count,
    quantity::numeric(38, 12) as quantity
from {{ unmetered_rows('unmetered') }}
where quantity is not null
