{{ config(tags=['deploy']) }}

-- What each segment of each period is worth by what is known: rounded once, half away from zero, to the currency's minor unit.
with

tiers_rated as (
    select * from {{ ref('int_tiers_rated') }}
),

currencies as (
    select * from {{ source('billing', 'currencies') }}
),

lines as (
    select
        team_id,
        subscription_key,
        period_start,
        period_end,
        period_label,
        is_finalized,
        line_key,
        meter_id,
        price_version_id,
        price_key,
        price_name,
        match,
        currency,
        charge_unit,
        segment_from,
        segment_until,
        quantity,
        charge_quantity,
        event_count,
        sum(usage_amount + fixed_amount) as exact_amount
    from tiers_rated
    group by
        team_id, subscription_key, period_start, period_end, period_label, is_finalized, line_key, meter_id,
        price_version_id, price_key, price_name, match, currency, charge_unit, segment_from, segment_until,
        quantity, charge_quantity, event_count
)

select
    lines.*,
    round(lines.exact_amount, currencies.exponent) as amount
from lines
inner join currencies on currencies.currency = lines.currency
