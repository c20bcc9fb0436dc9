{{ config(tags=['deploy']) }}

with

subscriptions as (
    select * from {{ ref('stg_billing__subscriptions') }}
),

finalized_bills as (
    select * from {{ source('billing', 'finalized_bills') }}
    where finalized_at <= {{ as_of() }}
)

select
    subscriptions.team_id,
    subscriptions.subscription_key,
    subscriptions.currency,
    subscriptions.time_zone,
    periods.period_start,
    periods.period_end,
    periods.period_label,
    periods.cycle_start,
    periods.cycle_end,
    finalized_bills.team_id is not null as is_finalized
from subscriptions
cross join lateral billing.periods_of(
    subscriptions.starts_at, subscriptions.ends_at, subscriptions.time_zone, subscriptions.anchor_day, {{ as_of_now() }}
) as periods
left join finalized_bills
    on finalized_bills.team_id = subscriptions.team_id
    and finalized_bills.subscription_key = subscriptions.subscription_key
    and finalized_bills.period_start = periods.period_start
