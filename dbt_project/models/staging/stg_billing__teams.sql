select
    team_id,
    team_key,
    team_name,
    time_zone,
    created_at
from {{ source('billing', 'teams') }}
