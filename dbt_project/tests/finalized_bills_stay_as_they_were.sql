{{ config(tags=['billing']) }}
-- The mart shows each finalized bill exactly as it was kept.
select
    bills.team_id,
    bills.period_label,
    bills.total,
    finalized.total as kept_total
from {{ ref('fct_bills') }} as bills
inner join {{ source('billing', 'finalized_bills') }} as finalized
    on finalized.team_id = bills.team_id
    and finalized.subscription_key = bills.subscription_key
    and finalized.period_start = bills.period_start
where bills.total <> finalized.total
