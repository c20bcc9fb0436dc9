with

versions as (
    select distinct on (team_id, subscription_key, effective_from) *
    from {{ source('billing', 'subscription_plans') }}
    where recorded_at <= {{ as_of() }}
    order by team_id, subscription_key, effective_from, recorded_at desc
)

select
    team_id,
    subscription_key,
    plan_id,
    effective_from,
    coalesce(
        lead(effective_from) over (partition by team_id, subscription_key order by effective_from), 'infinity'
    ) as effective_until
from versions
