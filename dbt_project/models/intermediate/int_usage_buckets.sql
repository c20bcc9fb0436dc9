{{
    config(
        materialized='incremental',
        incremental_strategy='record_versions',
        on_schema_change='fail',
        tags=['usage'],
        pre_hook='{{ plan_for_sets(hash=true) if many_buckets() else "set local enable_sort = off" }}',
        post_hook='analyze {{ this }}',
        indexes=[
            {'columns': ['team_id', 'meter_id', 'bucket_start', 'dimensions', 'member', 'recorded_from'], 'unique': true},
            {'columns': ['bucket_start']},
        ],
    )
}}

-- An increment of few windows reads each by the events' own key; one of many reads the months once and sorts them into windows.
with

queue as (
    select * from {{ source('billing', 'buckets_to_meter') }}
),

runs as (
    select * from {{ source('billing', 'metering_runs') }}
),

meters as (
    select * from {{ ref('stg_billing__meters') }}
),

horizon as (
    select coalesce(max(recorded_until), '-infinity'::timestamptz) as recorded_until from runs
),

metered_events as (
    {{ metered_events(months_at_once=many_buckets()) }}
        and events.recorded_at <= (select recorded_until from horizon)
)

select
    team_id,
    meter_id,
    bucket_start,
    dimensions,
    member,
    {{ measured() }},
    (select recorded_until from horizon)::timestamptz as recorded_from,
    'infinity'::timestamptz as recorded_to
from metered_events
group by team_id, meter_id, bucket_start, dimensions, member
