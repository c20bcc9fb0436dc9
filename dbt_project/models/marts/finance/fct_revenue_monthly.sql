{{ config(materialized='view', tags=['deploy']) }}

-- Revenue by the month in which a billing period begins, in its own zone; adjustments count in the month of the bill that they stand on.
with

revenue as (
    select * from {{ ref('fct_revenue') }}
),

periods as (
    select * from {{ ref('fct_billing_periods') }}
),

prices as (
    select * from {{ ref('stg_billing__prices') }}
),

currencies as (
    select * from {{ source('billing', 'currencies') }}
)

select
    date_trunc('month', periods.first_day)::date as month,
    revenue.team_id,
    revenue.team_key,
    prices.plan_key::text as plan_key,
    revenue.meter_key,
    revenue.currency,
    {{ in_minor_units('sum(revenue.amount)', 'minor') }} as amount,
    revenue.reporting_currency,
    {{ in_minor_units('sum(revenue.converted_amount)', 'reporting_minor') }} as converted_amount,
    count(*) filter (where revenue.converted_amount is null) as lines_not_converted,
    bool_and(revenue.bill_status = 'finalized') as is_final
from revenue
inner join periods
    on periods.team_id = revenue.team_id
    and periods.subscription_key = revenue.subscription_key
    and periods.period_start = revenue.period_start
left join prices on prices.price_key = revenue.price_key
inner join currencies as minor on minor.currency = revenue.currency
inner join currencies as reporting_minor on reporting_minor.currency = revenue.reporting_currency
group by
    1, revenue.team_id, revenue.team_key, prices.plan_key, revenue.meter_key, revenue.currency, revenue.reporting_currency,
    minor.exponent, reporting_minor.exponent
