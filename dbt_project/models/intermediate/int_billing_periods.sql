{{ config(tags=['deploy']) }}

-- The periods of each subscription that have begun, as they follow from its facts; and what these do not say: closing periods of
-- subscriptions that are over, and periods with a final bill that a subscription with another end does not reach any more. In
-- those no usage is billed, but their bills stand, and what has been billed too much is given back.
with

subscriptions as not materialized (
    select * from {{ ref('stg_billing__subscriptions') }} as known
    where {{ of_asked_team('known.team_id') }}
),

finalized_bills as (
    select * from {{ source('billing', 'finalized_bills') }}
    where finalized_at <= {{ as_of() }}
),

regular as (
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
        true as takes_usage
    from subscriptions
    cross join lateral billing.periods_of(
        subscriptions.starts_at, subscriptions.ends_at, subscriptions.time_zone, subscriptions.anchor_day,
        subscriptions.cycle_days, subscriptions.cycle_from, {{ as_of_now() }}
    ) as periods
),

kept as (
    select
        opened.team_id,
        opened.subscription_key,
        opened.currency,
        opened.time_zone,
        opened.period_start,
        opened.period_end,
        opened.period_label,
        opened.period_start as cycle_start,
        opened.period_end as cycle_end,
        false as takes_usage
    from {{ source('billing', 'billing_periods') }} as opened
    inner join subscriptions
        on subscriptions.team_id = opened.team_id
        and subscriptions.subscription_key = opened.subscription_key
        and subscriptions.ends_at <= opened.period_start
    where opened.opened_at <= {{ as_of() }}
        and (not opened.takes_usage or opened.finalized_at <= {{ as_of() }})
),

periods as (
    select * from regular
    union all
    select * from kept
)

select
    periods.team_id,
    periods.subscription_key,
    periods.currency,
    periods.time_zone,
    periods.period_start,
    periods.period_end,
    periods.period_label,
    periods.cycle_start,
    periods.cycle_end,
    periods.takes_usage,
    finalized_bills.team_id is not null as is_finalized
from periods
left join finalized_bills
    on finalized_bills.team_id = periods.team_id
    and finalized_bills.subscription_key = periods.subscription_key
    and finalized_bills.period_start = periods.period_start
