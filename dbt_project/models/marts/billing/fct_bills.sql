{{ config(materialized='view', tags=['deploy']) }}

-- A view over the lines: a bill is their sum, and can be nothing else.
with

periods as (
    select * from {{ ref('int_billing_periods') }}
),

lines as (
    select
        team_id,
        subscription_key,
        period_start,
        sum(amount) as total,
        sum(amount) filter (where kind = 'adjustment') as adjustments,
        count(*) as line_count
    from {{ ref('fct_bill_lines') }}
    group by team_id, subscription_key, period_start
),

teams as (
    select * from {{ ref('stg_billing__teams') }}
)

select
    periods.team_id,
    teams.team_key,
    teams.team_name,
    periods.subscription_key,
    periods.period_start,
    periods.period_end,
    periods.period_label::text as period_label,
    periods.time_zone,
    periods.currency::text as currency,
    {{ in_minor_units('coalesce(lines.total, 0)', 'currencies') }} as total,
    {{ in_minor_units('coalesce(lines.adjustments, 0)', 'currencies') }} as adjustments,
    coalesce(lines.line_count, 0)::bigint as line_count,
    case
        when periods.is_finalized then 'finalized'
        when periods.period_end <= now() then 'closing'
        else 'active'
    end as status
from periods
left join lines
    on lines.team_id = periods.team_id
    and lines.subscription_key = periods.subscription_key
    and lines.period_start = periods.period_start
inner join teams on teams.team_id = periods.team_id
inner join {{ source('billing', 'currencies') }} as currencies on currencies.currency = periods.currency
-- A closing period is a bill only where something is due on it.
where periods.takes_usage or periods.is_finalized or lines.line_count > 0
