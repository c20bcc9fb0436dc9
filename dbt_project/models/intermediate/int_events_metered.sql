{{ config(tags=['deploy']) }}

-- Each event and meter that counts it, with the quarter-hour, the slice and the value that it gives there, and what decides which
-- price it takes and whether it counts beside others. Ask by team and time.
with

events as (
    select * from {{ ref('stg_landing__usage_events') }}
),

meters as (
    select * from {{ ref('stg_billing__meters') }}
),

teams as (
    select * from {{ ref('stg_billing__teams') }}
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
    case meters.aggregation when 'count' then 1 else {{ meter_value('events', 'meters') }} end as metered_value,
    {{ meter_member('events', 'meters') }} as member,
    coalesce(events.properties ->> meters.operation_property = 'remove', false) as is_removal,
    {{ bucket_window('events_in_buckets', 'meters', 'teams') }} as bucket_window,
    {{ quarter_of_week('events_in_buckets.bucket_start', 'teams.time_zone') }} as quarter_of_week,
    teams.time_zone
from events
cross join lateral (select {{ bucket_of('events.occurred_at') }} as bucket_start) as events_in_buckets
inner join teams on teams.team_id = events.team_id
inner join meters on meters.event_name = events.event_name
where {{ passes_filters('events', 'meters') }}
