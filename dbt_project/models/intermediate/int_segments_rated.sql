{{ config(tags=['deploy']) }}

-- Each price segment of a period with its usage, none included: what owes nothing is shown to owe nothing. Where the price
-- prices hours, days or slices by themselves, each such part of it is a row.
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
        usage_priced.part,
        usage_priced.member,
        usage_priced.tells_apart,
        meters.aggregation,
        {{ combined('meters.aggregation', 'usage_priced') }} as quantity,
        sum(usage_priced.event_count) as event_count,
        max(usage_priced.decided_at) as decided_at
    from {{ ref('int_usage_priced') }} as usage_priced
    inner join meters on meters.meter_id = usage_priced.meter_id
    where usage_priced.price_version_id is not null
    group by
        usage_priced.team_id, usage_priced.subscription_key, usage_priced.period_start, usage_priced.price_version_id,
        usage_priced.segment_from, usage_priced.part, usage_priced.tells_apart, meters.aggregation, usage_priced.member,
        usage_priced.bucket_window
),

usage_finished as (
    select
        team_id,
        subscription_key,
        period_start,
        price_version_id,
        segment_from,
        part,
        {{ finished('aggregation', 'usage_combined') }} as quantity,
        sum(event_count) as event_count,
        array_agg((decided_at, member, quantity)::billing.told_apart) filter (where tells_apart) as told_apart
    from usage_combined
    group by team_id, subscription_key, period_start, price_version_id, segment_from, part, aggregation
),

measured as (
    select
        segments.*,
        coalesce(usage_finished.part, '') as part,
        usage_finished.told_apart,
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
),

charged as (
    select
        measured.*,
        measured.price_key || '@' || to_char(measured.segment_from at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI"Z"') as line_key,
        {{ charge_units('measured') }} as charge_quantity,
        case when measured.prices_events and measured.told_apart is not null then {{ event_charges('measured') }} end as event_charges,
        case
            when measured.limited_by is not null and measured.told_apart is not null then {{ highest_tier_reached('measured') }}
        end as tier_reached,
        -- A flat price is owed for the part of the cycle, in local days, that its segment covers.
        (
            (measured.segment_until at time zone measured.time_zone)::date
            - (measured.segment_from at time zone measured.time_zone)::date
        )::numeric as segment_days,
        (
            (measured.stretch_until at time zone measured.time_zone)::date
            - (measured.stretch_from at time zone measured.time_zone)::date
        )::numeric as stretch_days,
        (
            (measured.cycle_end at time zone measured.time_zone)::date
            - (measured.cycle_start at time zone measured.time_zone)::date
        )::numeric as cycle_days
    from measured
)

select
    charged.team_id,
    charged.subscription_key,
    charged.period_start,
    charged.period_end,
    charged.period_label,
    charged.cycle_start,
    charged.cycle_end,
    charged.time_zone,
    charged.is_finalized,
    charged.plan_id,
    charged.plan_key,
    charged.plan_from,
    charged.stretch_from,
    charged.stretch_days,
    charged.meter_id,
    charged.price_id,
    charged.price_key,
    charged.price_name,
    charged.match,
    charged.currency,
    charged.price_version_id,
    charged.model,
    charged.charge_unit,
    charged.unit_divisor,
    charged.per_period_hour,
    charged.charge_zero_flat,
    charged.block_rounding,
    charged.multiplier,
    charged.window_unit,
    charged.fixed_per_event,
    charged.has_free_tier,
    charged.has_terms,
    charged.segment_from,
    charged.segment_until,
    charged.segment_days,
    charged.cycle_days,
    charged.line_key,
    charged.part,
    charged.quantity,
    charged.event_count,
    charged.charge_quantity,
    charged.tier_reached,
    -- What a percentage price charges for the events that it treats one by one; null: it treats none.
    charged.event_charges[2] as events_amount,
    -- Units that are free are used up first; what was taken back below nothing is none of them.
    case
        when charged.event_charges is not null then round(charged.event_charges[1], 12)
        when charged.free_units = 0 then 0
        else least(greatest(charged.charge_quantity, 0), charged.free_units)
    end as free_quantity
from charged
