{{ config(tags=['deploy']) }}

-- Periods whose figures can still move: queued, not final, or ended so recently that Stripe still takes usage for them. Not those
-- of archived months: their events are not there to compare, and they were reconciled before they became final.
select
    periods.team_id,
    periods.subscription_key,
    periods.period_start,
    periods.period_end,
    periods.period_label,
    periods.currency
from {{ ref('int_billing_periods') }} as periods
where (
    not periods.is_finalized
    or periods.period_end > now() - interval '40 days'
    or exists (
        select 1
        from {{ source('billing', 'periods_to_rate') }} as queue
        where queue.team_id = periods.team_id
            and queue.subscription_key = periods.subscription_key
            and queue.period_start = periods.period_start
    )
    or exists (
        select 1
        from {{ source('billing', 'stripe_observations') }} as observations
        where observations.team_id = periods.team_id
            and observations.subscription_key = periods.subscription_key
            and observations.period_start = periods.period_start
            and observations.observed_at > now() - interval '2 days'
    )
)
and not exists (
    select 1
    from {{ source('landing', 'archived_months') }} as archived
    where archived.state <> 'restored'
        and archived.starts_at < periods.period_end
        and archived.ends_at > periods.period_start
)
