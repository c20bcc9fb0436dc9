{{ config(materialized='view', tags=['deploy']) }}

-- Bill lines in the reporting currency, each converted once, by the last rates at or before the end of its period (before the
-- present moment, while it runs), by way of the euro. Where there are none within a week, it is not converted, and says why.
with

lines as (
    select * from {{ ref('fct_bill_lines') }}
),

bills as (
    select * from {{ ref('fct_bills') }}
),

currencies as (
    select * from {{ source('billing', 'currencies') }}
),

moments as (
    select distinct
        currency,
        period_end,
        least(period_end, {{ as_of_now() }}) as converted_at
    from lines
),

rates as (
    select
        moments.currency,
        moments.period_end,
        moments.converted_at,
        round(reporting_rate.per_euro / original_rate.per_euro, 18) as rate,
        least(original_rate.quoted_at, reporting_rate.quoted_at) as rate_time,
        concat_ws(
            ', ',
            original_rate.source,
            case when reporting_rate.source is distinct from original_rate.source then reporting_rate.source end
        ) as rate_source,
        case
            when original_rate.per_euro is null then moments.currency
            when reporting_rate.per_euro is null then {{ reporting_currency() }}
        end as currency_without_rate
    from moments
    left join lateral ({{ euro_rate('moments.currency', 'moments.converted_at') }}) as original_rate on true
    left join lateral ({{ euro_rate(reporting_currency(), 'moments.converted_at') }}) as reporting_rate on true
)

select
    lines.team_id,
    lines.team_key,
    lines.subscription_key,
    lines.period_start,
    lines.period_end,
    lines.period_label,
    bills.status::text as bill_status,
    lines.line_key,
    lines.kind,
    lines.about_period_start,
    lines.meter_key,
    lines.price_key,
    lines.price_name,
    lines.amount,
    lines.currency,
    round(
        lines.amount * case when lines.currency = {{ reporting_currency() }} then 1 else rates.rate end,
        currencies.exponent
    )::numeric(100, 12) as converted_amount,
    {{ reporting_currency() }}::text as reporting_currency,
    (case when lines.currency = {{ reporting_currency() }} then 1 else rates.rate end)::numeric(38, 18) as rate,
    (case when lines.currency <> {{ reporting_currency() }} then rates.rate_time end)::timestamptz as rate_time,
    (case when lines.currency <> {{ reporting_currency() }} then nullif(rates.rate_source, '') end)::text as rate_source,
    case
        when lines.currency <> {{ reporting_currency() }} and rates.currency_without_rate is not null
            then 'no rate of ' || rates.currency_without_rate || ' in the week before '
                || to_char(rates.converted_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI"Z"')
    end::text as why_not_converted
from lines
inner join bills
    on bills.team_id = lines.team_id
    and bills.subscription_key = lines.subscription_key
    and bills.period_start = lines.period_start
inner join currencies on currencies.currency = {{ reporting_currency() }}
inner join rates
    on rates.currency = lines.currency
    and rates.period_end = lines.period_end
