{{ config(tags=['deploy']) }}

-- The quarter-hours, of the team that the session asks about, in which metering does not stand by what has landed: those that
-- are queued, and those that events, withdrawals and meters touch which were recorded after the last run that worked in all it
-- found; as of a moment of the past, the same of that moment. One too many is only counted again.
-- Tables are named where they are read: one that is read twice from a CTE is read as a whole.
with

horizon as (
    select coalesce(max(recorded_until), '-infinity'::timestamptz) as recorded_until
    from {{ source('billing', 'metering_runs') }}
    where closed_at is not null
        and superseded_at is null
        and recorded_until <= {{ as_of() }}
),

-- The bounds of the batches let the months be left out in which nothing has arrived.
bounds as (
    select min(first_occurred_at) as occurred_from, max(last_occurred_at) as occurred_until
    from {{ source('landing', 'batches') }}
    where recorded_at > (select recorded_until from horizon)
        and recorded_at <= {{ as_of() }}
)

select queue.team_id, queue.meter_id, queue.bucket_start
from {{ source('billing', 'buckets_to_meter') }} as queue
where queue.team_id = {{ asked_team() }}
    and {{ as_of() }} = 'infinity'
union
select events.team_id, meters.meter_id, {{ bucket_of('events.occurred_at') }} as bucket_start
from {{ source('landing', 'usage_events') }} as events
inner join {{ source('billing', 'meters') }} as meters on meters.event_name = events.event_name
where events.team_id = {{ asked_team() }}
    and events.recorded_at > (select recorded_until from horizon)
    and events.recorded_at <= {{ as_of() }}
    and events.occurred_at >= (select occurred_from from bounds)
    and events.occurred_at <= (select occurred_until from bounds)
union
select events.team_id, meters.meter_id, {{ bucket_of('events.occurred_at') }} as bucket_start
from {{ source('landing', 'event_withdrawals') }} as withdrawals
inner join {{ source('landing', 'usage_events') }} as events
    on events.team_id = withdrawals.team_id
    and events.occurred_at = withdrawals.occurred_at
    and events.key_digest = withdrawals.key_digest
inner join {{ source('billing', 'meters') }} as meters on meters.event_name = events.event_name
where withdrawals.team_id = {{ asked_team() }}
    and withdrawals.recorded_at > (select recorded_until from horizon)
    and withdrawals.recorded_at <= {{ as_of() }}
union
select events.team_id, meters.meter_id, {{ bucket_of('events.occurred_at') }} as bucket_start
from {{ source('billing', 'meters') }} as meters
inner join {{ source('landing', 'usage_events') }} as events on events.event_name = meters.event_name
where meters.created_at > (select recorded_until from horizon)
    and meters.created_at <= {{ as_of() }}
    and events.team_id = {{ asked_team() }}
    and exists (select 1 from {{ source('billing', 'metering_runs') }})
