{{
    config(
        materialized='incremental',
        incremental_strategy='replace_windows',
        on_schema_change='fail',
        tags=['billing'],
        indexes=[{'columns': ['team_id', 'subscription_key', 'period_start', 'line_key', 'part', 'tier'], 'unique': true}],
        pre_hook='{{ rate_queued_periods() }}',
        meta={
            'windows': 'billing.periods_to_rate',
            'window_columns': ['team_id', 'subscription_key', 'period_start'],
        },
    )
}}

select
    tiers_rated.team_id,
    tiers_rated.subscription_key,
    tiers_rated.period_start,
    tiers_rated.period_label::text as period_label,
    tiers_rated.line_key::text as line_key,
    tiers_rated.meter_id,
    tiers_rated.price_version_id,
    tiers_rated.segment_from,
    tiers_rated.segment_until,
    tiers_rated.tier,
    tiers_rated.over::numeric(38, 12) as over,
    tiers_rated.up_to::numeric(38, 12) as up_to,
    tiers_rated.currency,
    tiers_rated.charge_unit,
    tiers_rated.tier_quantity::numeric(100, 12) as tier_quantity,
    tiers_rated.unit_amount::numeric(38, 12) as unit_amount,
    tiers_rated.usage_amount::numeric(100, 24) as usage_amount,
    tiers_rated.fixed_amount::numeric(100, 24) as fixed_amount,
    tiers_rated.part::text as part,
    tiers_rated.block_size::numeric(38, 12) as block_size,
    tiers_rated.billed_units::numeric(100, 24) as billed_units,
    case when tiers_rated.is_first then tiers_rated.quantity end::numeric(100, 12) as quantity,
    case when tiers_rated.is_first then tiers_rated.event_count end::bigint as event_count,
    tiers_rated.stretch_from,
    tiers_rated.stretch_days::numeric(38, 12) as stretch_days,
    tiers_rated.segment_days::numeric(38, 12) as segment_days,
    tiers_rated.cycle_days::numeric(38, 12) as cycle_days
from {{ ref('int_tiers_rated') }} as tiers_rated
{{ only_queued_periods('tiers_rated') }}
