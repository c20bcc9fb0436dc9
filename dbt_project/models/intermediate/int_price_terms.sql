{{ config(tags=['deploy']) }}

-- What stands around the price of a version, where anything does: a commitment, a discount, a minimum, a maximum.
with

versions as (
    select * from {{ ref('stg_billing__price_versions') }}
    where has_terms
),

-- A commitment in units is worth what so many units cost.
commitments as (
    select
        versions.price_version_id,
        sum(
            tiers.flat_amount
            + tiers.unit_amount * {{ billed_units(
                "case when versions.model = 'volume' then committed.units
                else least(committed.units, coalesce(tiers.up_to, 'infinity'::numeric)) - tiers.over end",
                'tiers.block_size',
                'versions.block_rounding'
            ) }}
        ) * min(versions.multiplier) as amount
    from versions
    cross join lateral (select (versions.parameters ->> 'commitment_units')::numeric as units) as committed
    inner join {{ ref('stg_billing__price_tiers') }} as tiers
        on tiers.price_version_id = versions.price_version_id
        and tiers.tier > 0
        and (tiers.tier = 1 or committed.units > tiers.over)
        and (versions.model <> 'volume' or tiers.up_to is null or committed.units <= tiers.up_to)
    where committed.units is not null
    group by versions.price_version_id
)

select
    versions.price_version_id,
    coalesce((versions.parameters ->> 'commitment_amount')::numeric(38, 12), commitments.amount) as commitment_amount,
    -- What is beyond the commitment costs so many times its price.
    coalesce((versions.parameters ->> 'overage_factor')::numeric, 1) as overage_factor,
    -- Whether what is missing to the commitment is owed.
    coalesce((versions.parameters ->> 'true_up')::boolean, true) as is_trued_up,
    coalesce((versions.parameters ->> 'discount_percent')::numeric, 0) as discount_percent,
    (versions.parameters ->> 'minimum_amount')::numeric(38, 12) as minimum_amount,
    (versions.parameters ->> 'maximum_amount')::numeric(38, 12) as maximum_amount
from versions
left join commitments on commitments.price_version_id = versions.price_version_id
