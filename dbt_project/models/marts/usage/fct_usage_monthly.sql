{{
    config(
        tags=['usage'],
        pre_hook='{{ plan_for_sets(hash=true) if many_windows() }}',
        indexes=[{'columns': ['team_id', 'meter_id', 'month_start', 'dimensions'], 'unique': true}],
        meta={
            'windows': 'intermediate.int_usage_windows_queued',
            'window_columns': ['team_id', 'meter_id', 'month_start'],
        },
    )
}}

-- depends_on: {{ ref('int_usage_recorded') }}
-- depends_on: {{ ref('fct_usage_daily') }}
-- depends_on: {{ ref('int_usage_windows_queued') }}
-- depends_on: {{ ref('stg_billing__meters') }}
-- depends_on: {{ ref('stg_billing__teams') }}
-- depends_on: {{ source('billing', 'metering_runs') }}
{{ usage_by_local('month', parts=ref('fct_usage_daily'), part_unit='day') }}
