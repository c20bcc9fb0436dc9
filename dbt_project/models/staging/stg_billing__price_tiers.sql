-- The tiers of a price. Its free units are tier 0, so that the tiers of a line still add up to all of its usage.
select
    price_version_id,
    tier,
    over,
    up_to,
    unit_amount,
    flat_amount,
    block_size,
    limits
from {{ source('billing', 'price_tiers') }}
union all
select
    price_version_id,
    0::smallint as tier,
    0::numeric as over,
    (parameters ->> 'free_units')::numeric as up_to,
    0::numeric as unit_amount,
    0::numeric as flat_amount,
    null::numeric as block_size,
    null::jsonb as limits
from {{ source('billing', 'price_versions') }}
where parameters ?| array['free_units', 'free_events', 'free_amount']
