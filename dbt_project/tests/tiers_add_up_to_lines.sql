{{ config(tags=['billing']) }}
-- Of each open bill that was rated, the tiers of a line add up to its usage, and its amount is theirs, rounded once. Lines and tiers
-- are laid upon one another and not joined, since a planner that expects few of them would compare each with each.
with

rated as (
    select
        queue.team_id,
        queue.subscription_key,
        queue.period_start
    from {{ source('billing', 'periods_to_rate') }} as queue
    where not exists (
        select 1
        from {{ source('billing', 'finalized_bills') }} as finalized
        where finalized.team_id = queue.team_id
            and finalized.subscription_key = queue.subscription_key
            and finalized.period_start = queue.period_start
    )
),

laid as (
    select
        lines.team_id,
        lines.subscription_key,
        lines.period_start,
        lines.line_key,
        lines.currency,
        lines.charge_quantity,
        lines.amount,
        null::numeric as tier_quantity,
        null::numeric as tier_amount
    from {{ ref('fct_bill_lines') }} as lines
    inner join rated using (team_id, subscription_key, period_start)
    where lines.kind = 'usage'
    union all
    select
        tiers.team_id,
        tiers.subscription_key,
        tiers.period_start,
        tiers.line_key,
        null,
        null,
        null,
        tiers.tier_quantity,
        tiers.usage_amount + tiers.fixed_amount
    from {{ ref('fct_rated_usage') }} as tiers
    inner join rated using (team_id, subscription_key, period_start)
),

added as (
    select
        team_id,
        subscription_key,
        period_start,
        line_key,
        max(currency) as currency,
        max(charge_quantity) as charge_quantity,
        max(amount) as amount,
        sum(tier_quantity) as tiers_quantity,
        sum(tier_amount) as tiers_amount
    from laid
    group by team_id, subscription_key, period_start, line_key
    having count(currency) > 0
)

select added.*
from added
inner join {{ source('billing', 'currencies') }} as currencies on currencies.currency = added.currency
where added.tiers_quantity is distinct from added.charge_quantity
    or round(added.tiers_amount, currencies.exponent) is distinct from added.amount
