{{ config(materialized='view', tags=['deploy']) }}

-- Why a team's bills of a month are more or less than those of the month before. Where the versions of a price are others, the price
-- accounts for what this month's usage costs more for each unit, on average, than last month's did; the rest is usage. All rows of
-- a team and month add up to the difference.
with

periods as (
    select
        *,
        date_trunc('month', first_day)::date as month
    from {{ ref('fct_billing_periods') }}
),

lines as (
    select
        periods.month,
        lines.team_id,
        lines.team_key,
        lines.currency,
        case when lines.kind = 'usage' then lines.price_key end as price_key,
        sum(lines.amount) as amount,
        sum(lines.charge_quantity) as quantity,
        array_agg(distinct lines.price_version_id) as versions
    from {{ ref('fct_bill_lines') }} as lines
    inner join periods
        on periods.team_id = lines.team_id
        and periods.subscription_key = lines.subscription_key
        and periods.period_start = lines.period_start
    group by 1, 2, 3, 4, 5
),

team_months as (
    select distinct month, team_id, team_key, currency from lines
),

-- Each month of a team, and the one after its last.
compared as (
    select month, team_id, team_key, currency from team_months
    union
    select (month + interval '1 month')::date, team_id, team_key, currency from team_months
    where month < (select max(month) from team_months)
),

sides as (
    select
        compared.month,
        compared.team_id,
        compared.team_key,
        compared.currency,
        prices.price_key,
        coalesce(was.amount, 0) as amount_before,
        coalesce(is_now.amount, 0) as amount_now,
        coalesce(was.quantity, 0) as quantity_before,
        coalesce(is_now.quantity, 0) as quantity_now,
        was.versions as versions_before,
        is_now.versions as versions_now,
        exists (
            select 1 from team_months as before
            where before.team_id = compared.team_id and before.currency = compared.currency
                and before.month = (compared.month - interval '1 month')::date
        ) as was_there,
        exists (
            select 1 from team_months as this
            where this.team_id = compared.team_id and this.currency = compared.currency and this.month = compared.month
        ) as is_there
    from compared
    cross join lateral (
        select distinct lines.price_key from lines
        where lines.team_id = compared.team_id and lines.currency = compared.currency
            and lines.month in (compared.month, (compared.month - interval '1 month')::date)
    ) as prices
    left join lines as was
        on was.team_id = compared.team_id
        and was.currency = compared.currency
        and was.month = (compared.month - interval '1 month')::date
        and was.price_key is not distinct from prices.price_key
    left join lines as is_now
        on is_now.team_id = compared.team_id
        and is_now.currency = compared.currency
        and is_now.month = compared.month
        and is_now.price_key is not distinct from prices.price_key
),

priced as (
    select
        sides.*,
        currencies.exponent,
        case
            when sides.price_key is not null and sides.quantity_before > 0 and sides.quantity_now > 0
                and sides.versions_before <> sides.versions_now
                then round(
                    sides.amount_now - sides.amount_before * sides.quantity_now / sides.quantity_before, currencies.exponent
                )
            else 0
        end as price_amount
    from sides
    inner join {{ source('billing', 'currencies') }} as currencies on currencies.currency = sides.currency
),

causes as (
    select month, team_id, team_key, currency, exponent, 'new team' as cause, amount_now as amount
    from priced
    where not was_there
    union all
    select month, team_id, team_key, currency, exponent, 'lost team' as cause, -amount_before as amount
    from priced
    where was_there and not is_there
    union all
    select month, team_id, team_key, currency, exponent, 'price' as cause, price_amount as amount
    from priced
    where was_there and is_there and price_key is not null
    union all
    select month, team_id, team_key, currency, exponent, 'usage' as cause, amount_now - amount_before - price_amount as amount
    from priced
    where was_there and is_there and price_key is not null
    union all
    -- Minimums, discounts, credits, adjustments: what is about more than the usage of a price.
    select month, team_id, team_key, currency, exponent, 'other lines' as cause, amount_now - amount_before as amount
    from priced
    where was_there and is_there and price_key is null
)

select
    month,
    team_id,
    team_key,
    currency::text as currency,
    cause::text as cause,
    {{ in_minor_units('sum(amount)', 'causes') }} as amount
from causes
group by month, team_id, team_key, currency, cause, exponent
having sum(amount) <> 0
