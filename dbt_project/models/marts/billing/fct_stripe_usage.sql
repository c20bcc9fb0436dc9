{{
    config(
        materialized='incremental',
        incremental_strategy='replace_windows',
        on_schema_change='fail',
        tags=['billing'],
        indexes=[{'columns': ['team_id', 'meter_id', 'window_start', 'dimensions'], 'unique': true}],
        pre_hook='{{ rate_queued_periods() }}',
        meta={
            'windows': 'billing.periods_to_rate',
            'window_columns': ['team_id', 'subscription_key', 'period_start'],
            'replaced': "windows.whole or exists (
                select 1
                from billing.buckets_to_meter as queue
                where queue.team_id = stale.team_id
                    and queue.meter_id = stale.meter_id
                    and queue.bucket_start >= stale.window_start
                    and queue.bucket_start < stale.window_end
            )",
        },
    )
}}

-- What Stripe should have of the meters that add up; of others it gets the bill's amounts. A window is a UTC day, which is how
-- Stripe's summaries group, cut where a billing period ends. An increment makes the days in which quarter-hours are queued, and
-- all days of a period whose prices have changed.
with

-- Not materialized: it is read by key, and more than once.
usage_known as not materialized (
    select * from {{ ref('int_usage_recorded') }}
),

priced as (
    select distinct
        segments.team_id,
        segments.subscription_key,
        segments.period_start,
        segments.period_end,
        segments.meter_id,
        {{ 'queue.whole' if is_incremental() else 'true' }} as whole
    from {{ ref('int_price_segments') }} as segments
    inner join {{ ref('stg_billing__meters') }} as meters
        on meters.meter_id = segments.meter_id
        and meters.is_additive
    {%- if is_incremental() %}
    inner join {{ source('billing', 'periods_to_rate') }} as queue
        on queue.team_id = segments.team_id
        and queue.subscription_key = segments.subscription_key
        and queue.period_start = segments.period_start
    {%- endif %}
),

-- Days are as long in UTC everywhere, so they are cut by counting, and only then cut at the period's ends.
by_day as (
    select
        priced.team_id,
        priced.meter_id,
        priced.subscription_key,
        priced.period_start,
        priced.period_end,
        date_bin('24 hours', usage_known.bucket_start, '2000-01-01Z') as day_start,
        sum(usage_known.quantity) as quantity
    from priced
    inner join usage_known
        on usage_known.team_id = priced.team_id
        and usage_known.meter_id = priced.meter_id
        and usage_known.bucket_start >= {{ usage_from() }}
        and usage_known.bucket_start >= priced.period_start
        and usage_known.bucket_start < priced.period_end
    where priced.whole
    group by 1, 2, 3, 4, 5, 6
    {%- if is_incremental() %}
    union all
    select
        touched.team_id,
        touched.meter_id,
        touched.subscription_key,
        touched.period_start,
        touched.period_end,
        touched.day_start,
        sum(usage_known.quantity) as quantity
    from (
        select distinct
            priced.*,
            date_bin('24 hours', queue.bucket_start, '2000-01-01Z') as day_start
        from priced
        inner join {{ source('billing', 'buckets_to_meter') }} as queue
            on queue.team_id = priced.team_id
            and queue.meter_id = priced.meter_id
            and queue.bucket_start >= priced.period_start
            and queue.bucket_start < priced.period_end
        where not priced.whole
    ) as touched
    cross join lateral (
        select inside.quantity
        from usage_known as inside
        where inside.team_id = touched.team_id
            and inside.meter_id = touched.meter_id
            and inside.bucket_start >= greatest(touched.day_start, touched.period_start)
            and inside.bucket_start < least(touched.day_start + interval '24 hours', touched.period_end)
        offset 0
    ) as usage_known
    group by 1, 2, 3, 4, 5, 6
    {%- endif %}
)

select
    team_id,
    meter_id,
    '{}'::jsonb as dimensions,
    subscription_key,
    period_start,
    period_end,
    greatest(day_start, period_start) as window_start,
    least(day_start + interval '24 hours', period_end) as window_end,
    quantity::numeric(100, 12) as quantity
from by_day
