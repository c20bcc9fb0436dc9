-- What stands around all prices of a plan together. Of the versions with the same effective moment the one recorded last counts;
-- each is in force until the next.
with

versions as (
    select distinct on (plan_id, currency, effective_from) *
    from {{ source('billing', 'plan_terms') }}
    where recorded_at <= {{ as_of() }}
    order by plan_id, currency, effective_from, recorded_at desc
)

select
    plan_id,
    currency,
    effective_from,
    coalesce(lead(effective_from) over (partition by plan_id, currency order by effective_from), 'infinity') as effective_until,
    (parameters ->> 'commitment_amount')::numeric(38, 12) as commitment_amount,
    coalesce((parameters ->> 'overage_factor')::numeric, 1) as overage_factor,
    coalesce((parameters ->> 'true_up')::boolean, true) as is_trued_up,
    coalesce((parameters ->> 'discount_percent')::numeric, 0) as discount_percent,
    (parameters ->> 'minimum_amount')::numeric(38, 12) as minimum_amount,
    (parameters ->> 'maximum_amount')::numeric(38, 12) as maximum_amount
from versions
