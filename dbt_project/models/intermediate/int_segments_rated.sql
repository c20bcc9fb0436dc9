{{ config(tags=['deploy']) }}

-- Each price segment of a period with its usage, none included: what owes nothing is shown to owe nothing.
with

segments as (
    select * from {{ ref('int_price_segments') }}
),

usage_priced as (
    select
        team_id,
        subscription_key,
        period_start,
        price_version_id,
        segment_from,
        sum(quantity) as quantity,
        sum(event_count) as event_count
    from {{ ref('int_usage_priced') }}
    where price_version_id is not null
    group by team_id, subscription_key, period_start, price_version_id, segment_from
)

select
    segments.*,
    segments.price_key || '@' || to_char(segments.segment_from at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI"Z"') as line_key,
    coalesce(usage_priced.quantity, 0) as quantity,
    coalesce(usage_priced.event_count, 0) as event_count,
    -- GB-hours become GB-months by the hours of the whole cycle, so that a part of a cycle is not dearer by the hour.
    round(
        coalesce(usage_priced.quantity, 0)
        / segments.unit_divisor
        / case
            when segments.per_period_hour
                then extract(epoch from segments.cycle_end - segments.cycle_start) / 3600
            else 1
        end,
        12
    ) as charge_quantity,
    -- A flat price is owed for the part of the cycle, in local days, that its segment covers.
    (
        (segments.segment_until at time zone segments.time_zone)::date
        - (segments.segment_from at time zone segments.time_zone)::date
    )::numeric as segment_days,
    (
        (segments.cycle_end at time zone segments.time_zone)::date
        - (segments.cycle_start at time zone segments.time_zone)::date
    )::numeric as cycle_days
from segments
left join usage_priced
    on usage_priced.team_id = segments.team_id
    and usage_priced.subscription_key = segments.subscription_key
    and usage_priced.period_start = segments.period_start
    and usage_priced.price_version_id = segments.price_version_id
    and usage_priced.segment_from = segments.segment_from
