{{ config(tags=['billing']) }}
-- Each price of each open period that was rated has a line, though nothing was used. Prices and lines are laid upon one another and
-- not joined, as in tiers_add_up_to_lines.
with

laid as (
    select
        segments.team_id,
        segments.subscription_key,
        segments.period_start,
        segments.price_version_id,
        segments.price_key,
        0 as lines
    from {{ ref('int_price_segments') }} as segments
    inner join {{ source('billing', 'periods_to_rate') }} as queue
        on queue.team_id = segments.team_id
        and queue.subscription_key = segments.subscription_key
        and queue.period_start = segments.period_start
    where not segments.is_finalized
    union all
    select
        lines.team_id,
        lines.subscription_key,
        lines.period_start,
        lines.price_version_id,
        null,
        1
    from {{ ref('fct_bill_lines') }} as lines
    inner join {{ source('billing', 'periods_to_rate') }} as queue
        on queue.team_id = lines.team_id
        and queue.subscription_key = lines.subscription_key
        and queue.period_start = lines.period_start
    where lines.kind = 'usage'
)

select
    team_id,
    subscription_key,
    period_start,
    max(price_key) as price_key
from laid
group by team_id, subscription_key, period_start, price_version_id
having count(price_key) > 0 and sum(lines) = 0
