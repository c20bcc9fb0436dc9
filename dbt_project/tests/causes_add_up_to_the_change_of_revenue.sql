{{ config(tags=['finance']) }}
-- The causes of a team's change from month to month add up to the difference of its bills.
with

bills as (
    select
        date_trunc('month', periods.first_day)::date as month,
        periods.team_id,
        periods.currency,
        sum(periods.total) as total
    from {{ ref('fct_billing_periods') }} as periods
    group by 1, 2, 3
),

differences as (
    select team_id, currency, month, total as amount from bills
    union all
    select team_id, currency, (month + interval '1 month')::date, -total from bills
    where month < (select max(month) from bills)
    union all
    select team_id, currency, month, -amount from {{ ref('fct_revenue_change') }}
)

select team_id, currency, month, sum(amount) as unexplained
from differences
group by team_id, currency, month
having sum(amount) <> 0
