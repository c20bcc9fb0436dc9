{{ config(tags=['finance']) }}
-- What is earned day by day adds up to the bill, of bills that can still change.
select
    bills.team_key,
    bills.subscription_key,
    bills.period_label,
    bills.total,
    coalesce(sum(earned.earned_amount), 0) as earned_amount
from {{ ref('fct_bills') }} as bills
left join {{ ref('fct_revenue_earned_daily') }} as earned
    on earned.team_id = bills.team_id
    and earned.subscription_key = bills.subscription_key
    and earned.period_start = bills.period_start
where bills.status <> 'finalized'
group by bills.team_key, bills.subscription_key, bills.period_label, bills.total
having coalesce(sum(earned.earned_amount), 0) <> bills.total
