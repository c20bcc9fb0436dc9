{{ config(tags=['deploy']) }}

-- Tiers are continuous: over `over`, up to and including `up_to`. The quantities of a segment's tiers add up to its usage.
with

segments as (
    select * from {{ ref('int_segments_rated') }}
),

tiers as (
    select * from {{ ref('stg_billing__price_tiers') }}
),

usage_by_tier as (
    select
        segments.*,
        tiers.tier,
        tiers.over,
        tiers.up_to,
        tiers.unit_amount,
        tiers.flat_amount,
        trim_scale(case
            when segments.model = 'volume' then segments.charge_quantity
            when tiers.tier = 1 then least(segments.charge_quantity, coalesce(tiers.up_to, segments.charge_quantity))
            else least(segments.charge_quantity, coalesce(tiers.up_to, segments.charge_quantity)) - tiers.over
        end) as tier_quantity
    from segments
    inner join tiers on tiers.price_version_id = segments.price_version_id
    where case
        -- All of the usage is priced by the one tier in which its total lies.
        when segments.model = 'volume' then
            (tiers.tier = 1 or segments.charge_quantity > tiers.over)
            and (tiers.up_to is null or segments.charge_quantity <= tiers.up_to)
        else tiers.tier = 1 or segments.charge_quantity > tiers.over
    end
)

select
    usage_by_tier.*,
    trim_scale(tier_quantity * unit_amount) as usage_amount,
    trim_scale(
        case
            when model = 'flat' then flat_amount * segment_days / cycle_days
            when charge_quantity <= 0 and not charge_zero_flat then 0
            else flat_amount
        end
    ) as fixed_amount
from usage_by_tier
