{{ config(materialized='view', tags=['deploy']) }}

with

lines as (
    select * from {{ ref('fct_bill_lines') }}
    where kind = 'adjustment'
),

bills as (
    select * from {{ ref('fct_bills') }}
),

periods as (
    select * from {{ ref('int_billing_periods') }}
)

select
    lines.team_id,
    lines.team_key,
    lines.subscription_key,
    lines.period_start,
    lines.period_label as stands_on,
    bills.status::text as bill_status,
    lines.line_key,
    lines.about_period_start,
    periods.period_label::text as is_about,
    split_part(lines.line_key, ' ', 3)::text as about_line_key,
    lines.meter_key,
    lines.price_key,
    lines.price_name,
    lines.quantity,
    lines.unit,
    {{ in_minor_units('lines.amount', 'currencies') }} as amount,
    lines.currency
from lines
inner join bills
    on bills.team_id = lines.team_id
    and bills.subscription_key = lines.subscription_key
    and bills.period_start = lines.period_start
inner join {{ source('billing', 'currencies') }} as currencies on currencies.currency = lines.currency
left join periods
    on periods.team_id = lines.team_id
    and periods.subscription_key = lines.subscription_key
    and periods.period_start = lines.about_period_start
