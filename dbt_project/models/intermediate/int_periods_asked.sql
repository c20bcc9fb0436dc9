{{ config(tags=['deploy']) }}

-- The billing periods of the team that the session asks about.
select
    team_id,
    subscription_key,
    period_start,
    period_end,
    period_label,
    currency
from {{ ref('int_billing_periods') }}
where team_id = {{ asked_team() }}
