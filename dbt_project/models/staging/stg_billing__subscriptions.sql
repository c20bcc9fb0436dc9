select distinct on (team_id, subscription_key)
    team_id,
    subscription_key,
    currency,
    time_zone,
    anchor_day,
    cycle_days,
    cycle_from,
    starts_at,
    ends_at,
    recorded_at
from {{ source('billing', 'subscriptions') }}
where recorded_at <= {{ as_of() }}
order by team_id, subscription_key, recorded_at desc
