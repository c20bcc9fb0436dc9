{{ config(materialized='view', tags=['deploy']) }}

-- Read as it stands: a copy would be older than the submission that somebody asks about.
with

submissions as (
    select * from {{ source('billing', 'stripe_submissions') }}
),

teams as (
    select * from {{ ref('stg_billing__teams') }}
),

meters as (
    select * from {{ ref('stg_billing__meters') }}
)

select
    submissions.team_id,
    teams.team_key,
    submissions.meter_id,
    meters.meter_key,
    submissions.dimensions,
    submissions.window_start,
    submissions.window_end,
    submissions.sequence,
    submissions.quantity::numeric(100, 12) as quantity,
    submissions.state,
    submissions.adopted_at is not null as is_adopted,
    submissions.identifier,
    submissions.attempts,
    submissions.created_at,
    submissions.first_attempt_at,
    submissions.accepted_at,
    submissions.confirmed_at,
    submissions.http_status,
    submissions.error_code,
    submissions.error_message,
    submissions.request_id
from submissions
inner join teams on teams.team_id = submissions.team_id
inner join meters on meters.meter_id = submissions.meter_id
