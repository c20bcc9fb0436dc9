{{ config(tags=['deploy']) }}

-- What metering has worked in; in a session that has handed in what it has not worked in yet, that in place of the windows it
-- is about. Conditions on the setting alone are asked once for each part and not for each row. Usage marts read
-- int_usage_recorded: PostgreSQL looks rows up by key in that, but not in a union.
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
from {{ ref('int_usage_recorded') }}
where {{ unmetered_setting() }} is null
union all
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
from {{ ref('int_usage_recorded') }}
where {{ unmetered_setting() }} is not null
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
    member,
    event_count,
    quantity::numeric(100, 12) as quantity,
    passed_quantity_seconds::numeric(50, 18) as passed_quantity_seconds,
    decided_at
from {{ unmetered_rows('unmetered') }}
where quantity is not null
