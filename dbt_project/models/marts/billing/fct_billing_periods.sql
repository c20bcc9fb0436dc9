{{ config(materialized='view', tags=['deploy']) }}

-- The periods as they follow from their subscriptions, with what has become of each.
with

periods as (
    select * from {{ ref('int_billing_periods') }}
),

opened as (
    select * from {{ source('billing', 'billing_periods') }}
),

kept as (
    select * from {{ source('billing', 'finalized_bills') }}
),

teams as (
    select * from {{ ref('stg_billing__teams') }}
),

bills as (
    select * from {{ ref('fct_bills') }}
)

select
    periods.team_id,
    teams.team_key,
    teams.team_name,
    periods.subscription_key,
    periods.period_start,
    periods.period_end,
    periods.period_label::text as period_label,
    periods.time_zone,
    (periods.period_start at time zone periods.time_zone)::date as first_day,
    ((periods.period_end - interval '1 microsecond') at time zone periods.time_zone)::date as last_day,
    periods.currency::text as currency,
    case
        when periods.is_finalized then coalesce(opened.status, 'finalized')
        when periods.period_end <= now() then 'closing'
        else 'active'
    end::text as status,
    {{ in_minor_units('coalesce(bills.total, 0)', 'currencies') }} as total,
    opened.opened_at,
    kept.finalized_at,
    kept.as_of as final_as_of,
    kept.digest::text as final_digest,
    opened.stripe_invoice_id::text as stripe_invoice_id
from periods
inner join teams on teams.team_id = periods.team_id
inner join {{ source('billing', 'currencies') }} as currencies on currencies.currency = periods.currency
left join opened
    on opened.team_id = periods.team_id
    and opened.subscription_key = periods.subscription_key
    and opened.period_start = periods.period_start
left join kept
    on kept.team_id = periods.team_id
    and kept.subscription_key = periods.subscription_key
    and kept.period_start = periods.period_start
left join bills
    on bills.team_id = periods.team_id
    and bills.subscription_key = periods.subscription_key
    and bills.period_start = periods.period_start
