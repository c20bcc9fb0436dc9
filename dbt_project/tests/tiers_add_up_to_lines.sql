{{ config(tags=['billing']) }}
-- Of each open bill, the tiers of a line add up to its usage, and its amount is theirs, rounded once.
with

open_lines as (
    select lines.*
    from {{ ref('fct_bill_lines') }} as lines
    inner join {{ ref('int_billing_periods') }} as periods
        on periods.team_id = lines.team_id
        and periods.subscription_key = lines.subscription_key
        and periods.period_start = lines.period_start
    where lines.kind = 'usage' and not periods.is_finalized
),

tiers as (
    select
        team_id,
        subscription_key,
        period_start,
        line_key,
        sum(tier_quantity) as quantity,
        sum(usage_amount + fixed_amount) as amount
    from {{ ref('fct_rated_usage') }}
    group by team_id, subscription_key, period_start, line_key
)

select
    open_lines.team_key,
    open_lines.period_label,
    open_lines.line_key,
    open_lines.charge_quantity,
    tiers.quantity as tiers_quantity,
    open_lines.amount,
    tiers.amount as tiers_amount
from open_lines
inner join {{ source('billing', 'currencies') }} as currencies on currencies.currency = open_lines.currency
left join tiers
    on tiers.team_id = open_lines.team_id
    and tiers.subscription_key = open_lines.subscription_key
    and tiers.period_start = open_lines.period_start
    and tiers.line_key = open_lines.line_key
where tiers.quantity is distinct from open_lines.charge_quantity
    or round(tiers.amount, currencies.exponent) is distinct from open_lines.amount
