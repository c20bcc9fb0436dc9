{{ config(tags=['deploy']) }}

-- Each price segment of a period with its usage, none included: what owes nothing is shown to owe nothing.
with

segments as (
    select * from {{ ref('int_price_segments') }}
),

meters as (
    select * from {{ ref('stg_billing__meters') }}
),

-- Slices that take the same price are one: what was at its highest in any of them, a member that is in several once.
usage_combined as (
    select
        usage_priced.team_id,
        usage_priced.subscription_key,
        usage_priced.period_start,
        usage_priced.price_version_id,
        usage_priced.segment_from,
        meters.aggregation,
        {{ combined('meters.aggregation', 'usage_priced') }} as quantity,
        sum(usage_priced.event_count) as event_count,
        max(usage_priced.decided_at) as decided_at
    from {{ ref('int_usage_priced') }} as usage_priced
    inner join meters on meters.meter_id = usage_priced.meter_id
    where usage_priced.price_version_id is not null
    group by
        usage_priced.team_id, usage_priced.subscription_key, usage_priced.period_start, usage_priced.price_version_id,
        usage_priced.segment_from, meters.aggregation, usage_priced.member, usage_priced.bucket_window
),

usage_finished as (
    select
        team_id,
        subscription_key,
        period_start,
        price_version_id,
        segment_from,
        {{ finished('aggregation', 'usage_combined') }} as quantity,
        sum(event_count) as event_count
    from usage_combined
    group by team_id, subscription_key, period_start, price_version_id, segment_from, aggregation
),

measured as (
    select
        segments.*,
        {{ rounded_quantity(
            "coalesce(usage_finished.quantity, 0)
            / case when meters.aggregation = 'weighted_sum' then extract(epoch from segments.cycle_end - segments.cycle_start) else 1 end",
            'meters'
        ) }} as quantity,
        coalesce(usage_finished.event_count, 0) as event_count
    from segments
    inner join meters on meters.meter_id = segments.meter_id
    left join usage_finished
        on usage_finished.team_id = segments.team_id
        and usage_finished.subscription_key = segments.subscription_key
        and usage_finished.period_start = segments.period_start
        and usage_finished.price_version_id = segments.price_version_id
        and usage_finished.segment_from = segments.segment_from
)

select
    measured.*,
    measured.price_key || '@' || to_char(measured.segment_from at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI"Z"') as line_key,
    -- GB-hours become GB-months by the hours of the whole cycle, so that a part of a cycle is not dearer by the hour.
    round(
        measured.quantity
        / measured.unit_divisor
        / case
            when measured.per_period_hour
                then extract(epoch from measured.cycle_end - measured.cycle_start) / 3600
            else 1
        end,
        12
    ) as charge_quantity,
    -- A flat price is owed for the part of the cycle, in local days, that its segment covers.
    (
        (measured.segment_until at time zone measured.time_zone)::date
        - (measured.segment_from at time zone measured.time_zone)::date
    )::numeric as segment_days,
    (
        (measured.cycle_end at time zone measured.time_zone)::date
        - (measured.cycle_start at time zone measured.time_zone)::date
    )::numeric as cycle_days
from measured
