{{
    config(
        materialized='incremental',
        incremental_strategy='replace_windows',
        on_schema_change='fail',
        tags=['usage'],
        indexes=[{'columns': ['team_id', 'meter_id', 'day_start', 'dimensions'], 'unique': true}],
        meta={
            'windows': 'intermediate.int_usage_windows_queued',
            'window_columns': ['team_id', 'meter_id', 'day_start'],
        },
    )
}}

-- depends_on: {{ ref('int_usage_windows_queued') }}
with

usage_known as (
    select * from {{ ref('int_usage_known') }}
),

teams as (
    select * from {{ ref('stg_billing__teams') }}
)
{%- if is_incremental() %},

windows as (
    select distinct team_id, meter_id, day_start from {{ ref('int_usage_windows_queued') }}
)
{%- endif %}

select
    usage_known.team_id,
    usage_known.meter_id,
    date_trunc('day', usage_known.bucket_start, teams.time_zone)::timestamptz as day_start,
    date_trunc('day', usage_known.bucket_start at time zone teams.time_zone)::timestamp as local_day,
    usage_known.dimensions,
    sum(usage_known.quantity)::numeric(38, 12) as quantity,
    sum(usage_known.event_count)::bigint as event_count
from usage_known
inner join teams on teams.team_id = usage_known.team_id
{%- if is_incremental() %}
inner join windows
    on windows.team_id = usage_known.team_id
    and windows.meter_id = usage_known.meter_id
    and windows.day_start = date_trunc('day', usage_known.bucket_start, teams.time_zone)
{%- endif %}
group by 1, 2, 3, 4, 5
