with

events as (
    select * from {{ source('landing', 'usage_events') }}
),

withdrawals as (
    select * from {{ source('landing', 'event_withdrawals') }}
)

select
    events.team_id,
    events.occurred_at,
    events.key_digest,
    events.event_key,
    events.event_name,
    events.quantity,
    events.unit,
    events.subject,
    events.properties,
    events.batch_id,
    events.recorded_at
from events
where {{ is_known('events.recorded_at') }}
    and not exists (
        select 1
        from withdrawals
        where withdrawals.team_id = events.team_id
            and withdrawals.occurred_at = events.occurred_at
            and withdrawals.key_digest = events.key_digest
            and {{ is_known('withdrawals.recorded_at') }}
    )
