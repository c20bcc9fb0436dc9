{{ config(tags=['deploy']) }}

-- Tiers are continuous: over `over`, up to and including `up_to`. The quantities of a segment's tiers add up to its usage; what is
-- free is tier 0. Amounts have 24 digits after the point at most, so that what is stored of them is what they are.
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
        tiers.block_size,
        -- Where it stands once, although the segment may have several tiers.
        tiers.tier = 0
        or (not segments.has_free_tier and (tiers.tier = 1 or segments.model in ('volume', 'capacity'))) as is_first,
        trim_scale(case
            when tiers.tier = 0 then segments.free_quantity
            when segments.model in ('volume', 'capacity') then segments.charge_quantity - segments.free_quantity
            when tiers.tier = 1
                then least(segments.charge_quantity - segments.free_quantity, coalesce(tiers.up_to, 'infinity'::numeric))
            else least(segments.charge_quantity - segments.free_quantity, coalesce(tiers.up_to, 'infinity'::numeric)) - tiers.over
        end) as tier_quantity
    from segments
    inner join tiers on tiers.price_version_id = segments.price_version_id
    where case
        when tiers.tier = 0 then true
        -- All of the usage is priced by the one tier in which its total lies.
        when segments.model = 'volume' then
            (tiers.tier = 1 or segments.charge_quantity - segments.free_quantity > tiers.over)
            and (tiers.up_to is null or segments.charge_quantity - segments.free_quantity <= tiers.up_to)
        when segments.model = 'capacity' then tiers.tier = coalesce(segments.tier_reached, 1)
        else tiers.tier = 1 or segments.charge_quantity - segments.free_quantity > tiers.over
    end
),

usage_billed as (
    select
        usage_by_tier.*,
        {{ billed_units('tier_quantity', 'block_size', 'block_rounding') }} as billed_units
    from usage_by_tier
)

select
    usage_billed.*,
    trim_scale(round(billed_units * unit_amount * multiplier, 24)) as usage_amount,
    trim_scale(round(
        multiplier * case
            when tier = 0 then 0
            when model = 'flat' then flat_amount * segment_days / cycle_days
            -- What each event costs beside its rate, by minimum and maximum too.
            when events_amount is not null then events_amount - billed_units * unit_amount
            when charge_quantity <= 0 and not charge_zero_flat then 0
            when model = 'percentage' then event_count * fixed_per_event
            else flat_amount
        end,
        24
    )) as fixed_amount
from usage_billed
