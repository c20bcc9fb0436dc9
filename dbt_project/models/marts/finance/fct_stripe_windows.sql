{{ config(materialized='view', tags=['deploy']) }}

-- Read as it stands: a copy would be older than the submission that somebody asks about.
with

windows as (
    select * from {{ source('billing', 'stripe_window_states') }}
),

targets as (
    select
        team_id,
        meter_id,
        window_start,
        window_end,
        dimensions,
        max(revision) as target_revision,
        max(recorded_at) as target_recorded_at
    from {{ source('billing', 'stripe_targets') }}
    group by team_id, meter_id, window_start, window_end, dimensions
),

teams as (
    select * from {{ ref('stg_billing__teams') }}
),

meters as (
    select * from {{ ref('stg_billing__meters') }}
)

select
    windows.team_id,
    teams.team_key,
    windows.meter_id,
    meters.meter_key,
    windows.dimensions,
    windows.window_start,
    windows.window_end,
    windows.event_at,
    targets.target_revision,
    targets.target_recorded_at,
    windows.target_quantity::numeric(100, 12) as target_quantity,
    windows.ledger_quantity::numeric(100, 12) as ledger_quantity,
    windows.open_quantity::numeric(100, 12) as open_quantity,
    (windows.target_quantity - windows.ledger_quantity - windows.open_quantity)::numeric(100, 12) as owed_quantity,
    windows.held_code,
    windows.held_reason,
    windows.held_at,
    windows.closed_at
from windows
inner join teams on teams.team_id = windows.team_id
inner join meters on meters.meter_id = windows.meter_id
left join targets
    on targets.team_id = windows.team_id
    and targets.meter_id = windows.meter_id
    and targets.window_start = windows.window_start
    and targets.window_end = windows.window_end
    and targets.dimensions = windows.dimensions
