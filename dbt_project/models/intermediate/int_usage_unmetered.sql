{{ config(tags=['deploy']) }}

-- What the next metering run will find in those quarter-hours, counted from raw events by metering's own macros, and one row
-- without quantity for each of them, in which nothing may count any more.
with

queue as (
    select * from {{ ref('int_windows_unmetered') }}
),

meters as (
    select * from {{ ref('stg_billing__meters') }}
),

metered_events as (
    {{ metered_events() }}
),

measured as (
    select
        team_id,
        meter_id,
        bucket_start,
        dimensions,
        member,
        {{ measured() }}
    from metered_events
    group by team_id, meter_id, bucket_start, dimensions, member
)

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
from measured
union all
select
    team_id,
    meter_id,
    bucket_start,
    null as dimensions,
    null as member,
    null as event_count,
    null as quantity,
    null as passed_quantity_seconds,
    null as decided_at
from queue
