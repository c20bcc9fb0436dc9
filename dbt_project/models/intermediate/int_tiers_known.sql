{{ config(tags=['deploy']) }}

-- The tiers that lines are made of: as they are rated, or, in a run, as it has just stored them of the periods that are queued.
-- A usage of several tiers, or of several slices, is told once: on the row that is the first.
select
    team_id,
    subscription_key,
    period_start,
    is_finalized,
    line_key,
    meter_id,
    price_version_id,
    currency,
    plan_id,
    plan_key,
    stretch_from,
    stretch_days,
    window_unit,
    segment_days,
    cycle_days,
    part,
    case when is_first then quantity end as quantity,
    case when is_first then event_count end as event_count,
    tier_quantity,
    usage_amount + fixed_amount as amount
from {{ ref('int_tiers_rated') }}
where not {{ rates_queued_periods() }}
union all
select
    rated.team_id,
    rated.subscription_key,
    rated.period_start,
    finalized_bills.team_id is not null as is_finalized,
    rated.line_key,
    rated.meter_id,
    rated.price_version_id,
    rated.currency::char(3),
    prices.plan_id,
    prices.plan_key,
    rated.stretch_from,
    rated.stretch_days,
    versions.parameters ->> 'each' as window_unit,
    rated.segment_days,
    rated.cycle_days,
    rated.part,
    rated.quantity,
    rated.event_count,
    rated.tier_quantity,
    rated.usage_amount + rated.fixed_amount as amount
from {{ ref('fct_rated_usage') }} as rated
inner join {{ source('billing', 'price_versions') }} as versions on versions.price_version_id = rated.price_version_id
inner join {{ ref('stg_billing__prices') }} as prices on prices.price_id = versions.price_id
left join {{ source('billing', 'finalized_bills') }} as finalized_bills
    on finalized_bills.team_id = rated.team_id
    and finalized_bills.subscription_key = rated.subscription_key
    and finalized_bills.period_start = rated.period_start
where {{ rates_queued_periods() }} and {{ is_rated_here('rated') }}
