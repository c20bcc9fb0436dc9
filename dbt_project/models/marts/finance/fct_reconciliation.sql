{{
    config(
        materialized='incremental',
        incremental_strategy='replace_windows',
        on_schema_change='fail',
        tags=['finance'],
        indexes=[{'columns': ['team_id', 'subscription_key', 'period_start', 'meter_id'], 'unique': true}],
        meta={
            'windows': 'intermediate.int_periods_to_reconcile',
            'window_columns': ['team_id', 'subscription_key', 'period_start'],
        },
    )
}}

{{ reconciliation(ref('int_periods_to_reconcile')) }}
