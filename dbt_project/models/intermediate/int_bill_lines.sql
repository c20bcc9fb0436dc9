{{ config(tags=['deploy']) }}

-- The lines of every bill: as finalized where it is final; otherwise what is known, and what is due about earlier periods.
with

lines_rated as (
    select * from {{ ref('int_lines_rated') }}
    where not is_finalized
),

lines_finalized as (
    select * from {{ ref('int_lines_finalized') }}
),

adjustments as (
    select * from {{ ref('int_bill_adjustments') }}
    where period_start is not null
),

lines as (
    select
        team_id, subscription_key, period_start, line_key, 'usage' as kind, period_start as about_period_start,
        meter_id, price_version_id, quantity, charge_quantity, amount
    from lines_rated
    union all
    select
        team_id, subscription_key, period_start, line_key, 'adjustment' as kind, about_period_start,
        meter_id, price_version_id, quantity, charge_quantity, amount
    from adjustments
    union all
    select
        team_id, subscription_key, period_start, line_key, kind, about_period_start,
        meter_id, price_version_id, quantity, charge_quantity, amount
    from lines_finalized
)

select
    lines.*,
    periods.period_end,
    periods.period_label,
    periods.currency,
    periods.is_finalized
from lines
inner join {{ ref('int_billing_periods') }} as periods
    on periods.team_id = lines.team_id
    and periods.subscription_key = lines.subscription_key
    and periods.period_start = lines.period_start
