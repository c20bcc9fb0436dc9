{{
    config(
        materialized='incremental',
        incremental_strategy='replace_windows',
        on_schema_change='fail',
        tags=['billing'],
        indexes=[{'columns': ['team_id', 'meter_id', 'window_start', 'dimensions'], 'unique': true}],
        pre_hook='{{ rate_queued_periods() }}',
        meta={
            'windows': 'billing.periods_to_rate',
            'window_columns': ['team_id', 'subscription_key', 'period_start'],
        },
    )
}}

-- What Stripe should have of the meters that add up; of others it gets the bill's amounts. A window is a UTC day, which is how Stripe's summaries group, cut where a billing period ends.
with

usage_known as (
    select * from {{ ref('int_usage_recorded') }}
),

periods as (
    select * from {{ ref('int_billing_periods') }}
),

priced as (
    select distinct team_id, subscription_key, period_start, meter_id from {{ ref('int_price_segments') }}
)

select
    periods.team_id,
    usage_known.meter_id,
    '{}'::jsonb as dimensions,
    periods.subscription_key,
    periods.period_start,
    periods.period_end,
    greatest(date_trunc('day', usage_known.bucket_start, 'UTC'), periods.period_start) as window_start,
    least(date_trunc('day', usage_known.bucket_start, 'UTC') + interval '24 hours', periods.period_end) as window_end,
    sum(usage_known.quantity)::numeric(38, 12) as quantity
from periods
inner join priced
    on priced.team_id = periods.team_id
    and priced.subscription_key = periods.subscription_key
    and priced.period_start = periods.period_start
inner join {{ ref('stg_billing__meters') }} as meters
    on meters.meter_id = priced.meter_id
    and meters.is_additive
inner join usage_known
    on usage_known.team_id = periods.team_id
    and usage_known.meter_id = priced.meter_id
    and usage_known.bucket_start >= {{ usage_from() }}
    and usage_known.bucket_start >= periods.period_start
    and usage_known.bucket_start < periods.period_end
{{ only_queued_periods('periods') }}
group by 1, 2, 3, 4, 5, 6, 7, 8
