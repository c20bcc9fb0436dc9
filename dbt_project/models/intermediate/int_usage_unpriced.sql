{{ config(tags=['deploy']) }}

-- Usage that no bill holds, with the reason: shown and gated, never dropped.
with

usage_known as (
    select * from {{ ref('int_usage_known') }}
),

periods as (
    select * from {{ ref('int_billing_periods') }}
    where takes_usage
),

usage_priced as (
    select * from {{ ref('int_usage_priced') }}
),

outside_periods as (
    select
        usage_known.team_id,
        usage_known.meter_id,
        usage_known.dimensions,
        sum(usage_known.quantity) filter (where meters.is_additive) as quantity,
        sum(usage_known.event_count) as event_count
    from usage_known
    inner join {{ ref('stg_billing__meters') }} as meters on meters.meter_id = usage_known.meter_id
    where not exists (
        select 1
        from periods
        where periods.team_id = usage_known.team_id
            and usage_known.bucket_start >= periods.period_start
            and usage_known.bucket_start < periods.period_end
    )
    group by usage_known.team_id, usage_known.meter_id, usage_known.dimensions
),

-- Where a plan prices a meter, but from later on than the subscription is on it.
before_prices as (
    select
        periods.team_id,
        periods.period_start,
        prices.meter_id,
        greatest(periods.period_start, plans.effective_from) as since,
        coalesce(min(segments.segment_from), least(periods.period_end, plans.effective_until)) as until
    from periods
    inner join {{ ref('stg_billing__subscription_plans') }} as plans
        on plans.team_id = periods.team_id
        and plans.subscription_key = periods.subscription_key
        and plans.effective_from < periods.period_end
        and plans.effective_until > periods.period_start
    inner join {{ ref('stg_billing__prices') }} as prices
        on prices.plan_id = plans.plan_id
        and prices.currency = periods.currency
    left join {{ ref('int_price_segments') }} as segments
        on segments.team_id = periods.team_id
        and segments.subscription_key = periods.subscription_key
        and segments.period_start = periods.period_start
        and segments.plan_id = plans.plan_id
        and segments.plan_from = plans.effective_from
        and segments.meter_id = prices.meter_id
    group by
        periods.team_id, periods.subscription_key, periods.period_start, periods.period_end, prices.meter_id,
        plans.effective_from, plans.effective_until
    having coalesce(min(segments.segment_from), 'infinity') > greatest(periods.period_start, plans.effective_from)
)

select
    team_id,
    meter_id,
    null::timestamptz as period_start,
    dimensions,
    quantity,
    event_count,
    'no billing period' as reason
from outside_periods
union all
select
    team_id,
    meter_id,
    period_start,
    dimensions,
    quantity,
    event_count,
    'no price for these dimensions' as reason
from usage_priced
where price_version_id is null
union all
select
    before_prices.team_id,
    before_prices.meter_id,
    before_prices.period_start,
    usage_known.dimensions,
    coalesce(sum(usage_known.quantity) filter (where meters.is_additive), max(usage_known.quantity)) as quantity,
    sum(usage_known.event_count) as event_count,
    'no price at that time' as reason
from before_prices
inner join {{ ref('stg_billing__meters') }} as meters on meters.meter_id = before_prices.meter_id
inner join usage_known
    on usage_known.team_id = before_prices.team_id
    and usage_known.meter_id = before_prices.meter_id
    and usage_known.bucket_start >= before_prices.since
    and usage_known.bucket_start < before_prices.until
where meters.aggregation <> 'weighted_sum'
group by before_prices.team_id, before_prices.meter_id, before_prices.period_start, usage_known.dimensions
