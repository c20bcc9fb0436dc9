{{ config(materialized='view', tags=['deploy']) }}

select
    team_id,
    team_key,
    team_name,
    time_zone,
    created_at
from {{ ref('stg_billing__teams') }}
