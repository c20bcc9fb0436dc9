{{ config(tags=['finance']) }}
-- What bills come to is what their lines, revenue, revenue by month and earned days come to; and so are their adjustments.
with

bills as (
    select
        team_id,
        currency,
        sum(total) as total,
        sum(adjustments) as adjustments
    from {{ ref('fct_bills') }}
    group by team_id, currency
),

told as (
    select 'bill lines' as told_by, team_id, currency, sum(amount) as amount from {{ ref('fct_bill_lines') }} group by 2, 3
    union all
    select 'revenue', team_id, currency, sum(amount) from {{ ref('fct_revenue') }} group by 2, 3
    union all
    select 'revenue by month', team_id, currency, sum(amount) from {{ ref('fct_revenue_monthly') }} group by 2, 3
    union all
    select 'billing periods', team_id, currency, sum(total) from {{ ref('fct_billing_periods') }} group by 2, 3
    union all
    select 'adjustments', team_id, currency, sum(amount) from {{ ref('fct_adjustments') }} group by 2, 3
),

compared as (
    select
        steps.told_by,
        bills.team_id,
        bills.currency,
        case steps.told_by when 'adjustments' then bills.adjustments else bills.total end as billed,
        coalesce(told.amount, 0) as amount
    from bills
    cross join (
        values ('bill lines'), ('revenue'), ('revenue by month'), ('billing periods'), ('adjustments')
    ) as steps (told_by)
    left join told
        on told.told_by = steps.told_by
        and told.team_id = bills.team_id
        and told.currency = bills.currency
)

select * from compared
where billed <> amount
