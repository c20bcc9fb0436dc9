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

versions as not materialized (
    select * from {{ ref('stg_billing__price_versions') }}
),

overrides as (
    select price_id, team_id, min(effective_from) as effective_from
    from versions
    where team_id is not null
    group by price_id, team_id
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
    greatest(periods.period_start, subscription_plans.effective_from) as stretch_from,
    least(periods.period_end, subscription_plans.effective_until) as stretch_until,
    prices.meter_id,
    prices.price_id,
    prices.price_key,
    prices.price_name,
    prices.match,
    prices.matched_dimensions,
    prices.hours,
    prices.currency,
    versions.price_version_id,
    versions.model,
    versions.charge_unit,
    versions.unit_divisor,
    versions.per_period_hour,
    versions.charge_zero_flat,
    versions.unit_rounding,
    versions.free_units,
    versions.block_rounding,
    versions.multiplier,
    versions.window_unit,
    versions.group_by,
    versions.limited_by,
    versions.fixed_per_event,
    versions.prices_events,
    versions.has_free_tier,
    versions.has_terms,
    greatest(periods.period_start, subscription_plans.effective_from, versions.effective_from) as segment_from,
    least(
        periods.period_end, subscription_plans.effective_until, versions.effective_until,
        case when versions.team_id is null then overrides.effective_from end
    ) as segment_until
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
    and (versions.team_id is null or versions.team_id = periods.team_id)
left join overrides
    on overrides.price_id = prices.price_id
    and overrides.team_id = periods.team_id
-- Once a team has versions of a price of its own, the plan's hold for it only until the first of them.
where versions.team_id is not null
    or overrides.effective_from is null
    or overrides.effective_from > greatest(periods.period_start, subscription_plans.effective_from, versions.effective_from)
