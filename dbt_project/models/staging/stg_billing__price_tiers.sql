select
    price_version_id,
    tier,
    over,
    up_to,
    unit_amount,
    flat_amount
from {{ source('billing', 'price_tiers') }}
