-- Of the versions with the same effective moment the one recorded last counts; each is in force until the next.
with

versions as (
    select distinct on (price_id, team_id, effective_from) *
    from {{ source('billing', 'price_versions') }}
    where recorded_at <= {{ as_of() }}
    order by price_id, team_id, effective_from, recorded_at desc
)

select
    price_version_id,
    price_id,
    -- The team for which alone it holds; null: everybody on the plan.
    team_id,
    effective_from,
    coalesce(lead(effective_from) over (partition by price_id, team_id order by effective_from), 'infinity') as effective_until,
    recorded_at,
    model,
    charge_unit,
    unit_divisor,
    per_period_hour,
    charge_zero_flat,
    parameters,
    -- Charge units are rounded to whole ones: up, down or round.
    parameters ->> 'unit_rounding' as unit_rounding,
    coalesce((parameters ->> 'free_units')::numeric, 0) as free_units,
    -- Of tiers with a block_size: whether a block that was begun is owed (up) or not (down).
    coalesce(parameters ->> 'block_rounding', 'up') as block_rounding,
    -- What usage costs, times this.
    coalesce((parameters ->> 'multiplier')::numeric, 1) as multiplier,
    -- Usage of each hour or day of the team's clock is priced by itself.
    parameters ->> 'each' as window_unit,
    -- Usage of each combination of these dimensions is priced by itself.
    parameters -> 'group_by' as group_by,
    -- Of a capacity price: the dimension whose values its tiers limit.
    parameters ->> 'limited_by' as limited_by,
    -- Of a percentage price: what each event costs besides.
    coalesce((parameters ->> 'fixed_per_event')::numeric, 0) as fixed_per_event,
    -- Whether it matters which event was first, or what each brought.
    model = 'percentage' and parameters ?| array['free_events', 'free_amount', 'minimum_per_event', 'maximum_per_event']
        as prices_events,
    -- Whether some usage may be free, which is shown as tier 0.
    parameters ?| array['free_units', 'free_events', 'free_amount'] as has_free_tier,
    -- Whether anything stands around what its tiers cost: see int_price_terms.
    parameters ?| array[
        'commitment_units', 'commitment_amount', 'discount_percent', 'minimum_amount', 'maximum_amount'
    ] as has_terms
from versions
