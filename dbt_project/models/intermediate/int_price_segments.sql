{{ config(tags=['deploy']) }}

-- What a period is priced by: each price of each plan that the subscription is on, cut where a plan or a version ends.
with

periods as (
    select * from {{ ref('int_billing_periods') }} as opened
    where opened.takes_usage and {{ is_rated_here('opened') }}
),

subscription_plans as (
    select * from {{ ref('stg_billing__subscription_plans') }}
),

prices as (
    select * from {{ ref('stg_billing__prices') }}
),

versions as (
    select * from {{ ref('stg_billing__price_versions') }}
)

select
    periods.team_id,
    periods.subscription_key,
    periods.period_start,
    periods.period_end,
    periods.period_label,
    periods.cycle_start,
    periods.cycle_end,
    periods.time_zone,
    periods.is_finalized,
    prices.plan_id,
    prices.plan_key,
    subscription_plans.effective_from as plan_from,
    prices.meter_id,
    prices.price_id,
    prices.price_key,
    prices.price_name,
    prices.match,
    prices.matched_dimensions,
    prices.currency,
    versions.price_version_id,
    versions.model,
    versions.charge_unit,
    versions.unit_divisor,
    versions.per_period_hour,
    versions.charge_zero_flat,
    greatest(periods.period_start, subscription_plans.effective_from, versions.effective_from) as segment_from,
    least(periods.period_end, subscription_plans.effective_until, versions.effective_until) as segment_until
from periods
inner join subscription_plans
    on subscription_plans.team_id = periods.team_id
    and subscription_plans.subscription_key = periods.subscription_key
    and subscription_plans.effective_from < periods.period_end
    and subscription_plans.effective_until > periods.period_start
inner join prices
    on prices.plan_id = subscription_plans.plan_id
    and prices.currency = periods.currency
inner join versions
    on versions.price_id = prices.price_id
    and versions.effective_from < least(periods.period_end, subscription_plans.effective_until)
    and versions.effective_until > greatest(periods.period_start, subscription_plans.effective_from)
