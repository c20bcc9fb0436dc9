{{ config(tags=['deploy']) }}

{{ reconciliation(ref('int_periods_asked')) }}
