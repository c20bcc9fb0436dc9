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
