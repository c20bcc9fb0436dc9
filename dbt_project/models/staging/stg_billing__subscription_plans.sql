with

versions as (
    select distinct on (team_id, subscription_key, effective_from) *
    from {{ source('billing', 'subscription_plans') }}
    where recorded_at <= {{ as_of() }}
    order by team_id, subscription_key, effective_from, recorded_at desc
),

-- A change that was undone is a row with the plan before it: no change, and no line is split there.
changes as (
    select
        *,
        lag(plan_id) over (partition by team_id, subscription_key order by effective_from) as plan_before
    from versions
)

select
    team_id,
    subscription_key,
    plan_id,
    effective_from,
    coalesce(
        lead(effective_from) over (partition by team_id, subscription_key order by effective_from), 'infinity'
    ) as effective_until
from changes
where plan_before is distinct from plan_id
