{{ config(materialized='view', tags=['deploy']) }}

-- Quantities of different meters are not added up: a row counts the meters that differ, and sums what is money.
with

meters as (
    select * from {{ ref('fct_reconciliation') }}
),

bills as (
    select * from {{ ref('fct_bills') }}
),

lines as (
    select
        team_id,
        subscription_key,
        period_start,
        sum(amount) as amount
    from {{ ref('fct_bill_lines') }}
    group by team_id, subscription_key, period_start
),

compared as (
    select
        team_id,
        subscription_key,
        period_start,
        count(*) as meters,
        sum(events_landed) - sum(events_metered) as events_landed_minus_metered,
        count(*) filter (where landed_minus_metered <> 0) as meters_landed_minus_metered,
        count(*) filter (where metered_minus_rated <> 0) as meters_metered_minus_rated,
        count(*) filter (where rated_minus_billed <> 0) as meters_rated_minus_billed,
        sum(rated_minus_billed_amount) as rated_minus_billed_amount,
        count(*) filter (where billed_minus_ledger <> 0) as meters_billed_minus_ledger,
        count(*) filter (where ledger_minus_submitted <> 0) as meters_ledger_minus_submitted,
        count(*) filter (where submitted_minus_stripe <> 0) as meters_submitted_minus_stripe,
        bool_and(is_reconciled) as is_reconciled,
        min(stripe_observed_at) as stripe_observed_at
    from meters
    group by team_id, subscription_key, period_start
)

select
    compared.team_id,
    bills.team_key,
    compared.subscription_key,
    compared.period_start,
    bills.period_label,
    bills.status::text as bill_status,
    bills.currency,
    {{ in_minor_units('bills.total', 'currencies') }} as bill_total,
    compared.meters,
    compared.events_landed_minus_metered::bigint as events_landed_minus_metered,
    compared.meters_landed_minus_metered,
    compared.meters_metered_minus_rated,
    compared.meters_rated_minus_billed,
    {{ in_minor_units('compared.rated_minus_billed_amount', 'currencies') }} as rated_minus_billed_amount,
    {{ in_minor_units('coalesce(lines.amount, 0) - bills.total', 'currencies') }} as lines_minus_bill_amount,
    compared.meters_billed_minus_ledger,
    compared.meters_ledger_minus_submitted,
    compared.meters_submitted_minus_stripe,
    compared.is_reconciled and coalesce(lines.amount, 0) = bills.total as is_reconciled,
    compared.stripe_observed_at
from compared
inner join bills
    on bills.team_id = compared.team_id
    and bills.subscription_key = compared.subscription_key
    and bills.period_start = compared.period_start
inner join {{ source('billing', 'currencies') }} as currencies on currencies.currency = bills.currency
left join lines
    on lines.team_id = compared.team_id
    and lines.subscription_key = compared.subscription_key
    and lines.period_start = compared.period_start
