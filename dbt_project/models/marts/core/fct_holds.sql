{{ config(materialized='view', tags=['deploy']) }}

select
    holds.team_id,
    teams.team_key,
    holds.hold_key,
    holds.gate,
    holds.reason,
    holds.held_at,
    holds.released_at,
    holds.released_by
from {{ source('billing', 'holds') }} as holds
inner join {{ ref('stg_billing__teams') }} as teams on teams.team_id = holds.team_id
