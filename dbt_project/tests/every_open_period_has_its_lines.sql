{{ config(tags=['billing']) }}
-- Each price of each open period that was rated has a line, though nothing was used.
select
    segments.team_id,
    segments.period_label,
    segments.price_key
from {{ ref('int_price_segments') }} as segments
inner join {{ source('billing', 'periods_to_rate') }} as queue
    on queue.team_id = segments.team_id
    and queue.subscription_key = segments.subscription_key
    and queue.period_start = segments.period_start
where not segments.is_finalized
    and not exists (
        select 1
        from {{ ref('fct_bill_lines') }} as lines
        where lines.team_id = segments.team_id
            and lines.subscription_key = segments.subscription_key
            and lines.period_start = segments.period_start
            and lines.price_version_id = segments.price_version_id
            and lines.kind = 'usage'
    )
