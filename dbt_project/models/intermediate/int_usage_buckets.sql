{{
    config(
        materialized='incremental',
        incremental_strategy='record_versions',
        on_schema_change='fail',
        tags=['usage'],
        pre_hook='{{ plan_for_sets() if queued_buckets() | int > 20000 }}',
        post_hook='analyze {{ this }}',
        indexes=[
            {'columns': ['team_id', 'meter_id', 'bucket_start', 'dimensions', 'recorded_from'], 'unique': true},
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
    select
        queue.team_id,
        queue.meter_id,
        queue.bucket_start,
        {{ dimension_slice('events', 'meters') }} as dimensions,
        meters.aggregation,
        {{ meter_value('events', 'meters') }} as metered_value
    {%- if queued_buckets() | int > 20000 %}
    from {{ ref('stg_landing__usage_events') }} as events
    inner join meters on meters.event_name = events.event_name
    inner join queue
        on queue.team_id = events.team_id
        and queue.meter_id = meters.meter_id
        and queue.bucket_start = {{ bucket_of('events.occurred_at') }}
    where events.occurred_at >= (select min(bucket_start) from queue)
        and events.occurred_at < (select max(bucket_start) + interval '15 minutes' from queue)
    {%- else %}
    from queue
    inner join meters on meters.meter_id = queue.meter_id
    cross join lateral (
        select *
        from {{ ref('stg_landing__usage_events') }} as landed
        where landed.team_id = queue.team_id
            and landed.occurred_at >= queue.bucket_start
            and landed.occurred_at < queue.bucket_start + interval '15 minutes'
        offset 0
    ) as events
    where events.event_name = meters.event_name
    {%- endif %}
        and events.recorded_at <= (select recorded_until from horizon)
        and {{ passes_filters('events', 'meters') }}
)

select
    team_id,
    meter_id,
    bucket_start,
    dimensions,
    count(*)::bigint as event_count,
    (case min(aggregation) when 'count' then count(*) else coalesce(sum(metered_value), 0) end)::numeric(38, 12) as quantity,
    (select recorded_until from horizon)::timestamptz as recorded_from,
    'infinity'::timestamptz as recorded_to
from metered_events
group by team_id, meter_id, bucket_start, dimensions
