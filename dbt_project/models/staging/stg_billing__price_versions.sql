-- Of the versions with the same effective moment the one recorded last counts; each is in force until the next.
with

versions as (
    select distinct on (price_id, effective_from) *
    from {{ source('billing', 'price_versions') }}
    where recorded_at <= {{ as_of() }}
    order by price_id, effective_from, recorded_at desc
)

select
    price_version_id,
    price_id,
    effective_from,
    coalesce(lead(effective_from) over (partition by price_id order by effective_from), 'infinity') as effective_until,
    recorded_at,
    model,
    charge_unit,
    unit_divisor,
    per_period_hour,
    charge_zero_flat,
    carry_tiers,
    parameters
from versions
