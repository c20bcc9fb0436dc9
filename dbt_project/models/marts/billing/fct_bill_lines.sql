{{
    config(
        materialized='incremental',
        incremental_strategy='replace_windows',
        on_schema_change='fail',
        tags=['billing'],
        indexes=[{'columns': ['team_id', 'subscription_key', 'period_start', 'line_key'], 'unique': true}],
        pre_hook='{{ rate_queued_periods() }}',
        meta={
            'windows': 'billing.periods_to_rate',
            'window_columns': {
                'team_id': 'team_id',
                'subscription_key': 'subscription_key',
                'about_period_start': 'period_start',
            },
        },
    )
}}

with

lines as (
    select * from {{ ref('int_bill_lines') }}
),

prices as (
    select * from {{ ref('stg_billing__prices') }}
),

versions as (
    select * from {{ source('billing', 'price_versions') }}
),

meters as (
    select * from {{ ref('stg_billing__meters') }}
),

teams as (
    select * from {{ ref('stg_billing__teams') }}
)

select
    lines.team_id,
    teams.team_key,
    lines.subscription_key,
    lines.period_start,
    lines.period_end,
    lines.period_label::text as period_label,
    lines.line_key::text as line_key,
    lines.kind::text as kind,
    lines.about_period_start,
    lines.meter_id,
    meters.meter_key,
    lines.price_version_id,
    prices.price_key,
    prices.price_name,
    prices.match as dimensions,
    trim_scale(lines.quantity::numeric(100, 12)) as quantity,
    meters.unit,
    trim_scale(lines.charge_quantity::numeric(100, 12)) as charge_quantity,
    versions.charge_unit,
    lines.currency::text as currency,
    {{ in_minor_units('lines.amount', 'currencies') }} as amount,
    trim_scale(lines.exact_amount::numeric(100, 24)) as exact_amount
from lines
inner join {{ source('billing', 'currencies') }} as currencies on currencies.currency = lines.currency
left join versions on versions.price_version_id = lines.price_version_id
left join prices on prices.price_id = versions.price_id
left join meters on meters.meter_id = lines.meter_id
inner join teams on teams.team_id = lines.team_id
-- A queued period takes with it all that is billed about it, on whichever bill; what is billed about others stays.
{{ only_queued_periods('lines', 'about_period_start') }}
