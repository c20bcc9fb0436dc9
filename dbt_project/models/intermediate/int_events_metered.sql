{{ config(tags=['deploy']) }}

-- Each event and meter that counts it, with the quarter-hour, the slice and the value that it gives there. Ask by team and time.
with

events as (
    select * from {{ ref('stg_landing__usage_events') }}
),

meters as (
    select * from {{ ref('stg_billing__meters') }}
)

select
    events.team_id,
    events.occurred_at,
    events.key_digest,
    events.recorded_at,
    meters.meter_id,
    meters.meter_key,
    meters.unit,
    {{ bucket_of('events.occurred_at') }} as bucket_start,
    {{ dimension_slice('events', 'meters') }} as dimensions,
    case meters.aggregation when 'count' then 1 else {{ meter_value('events', 'meters') }} end as metered_value
from events
inner join meters on meters.event_name = events.event_name
where {{ passes_filters('events', 'meters') }}
