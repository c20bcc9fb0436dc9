{{ config(materialized='view', tags=['deploy']) }}

-- A grant is deferred revenue until bills draw it or it expires.
with

grants as (
    select * from {{ source('billing', 'credit_grants') }}
),

drawn as (
    select
        lines.team_id,
        lines.line_key,
        -sum(lines.amount) filter (where bills.status = 'finalized') as drawn_by_final_bills,
        -sum(lines.amount) filter (where bills.status <> 'finalized') as drawn_by_open_bills
    from {{ ref('fct_bill_lines') }} as lines
    inner join {{ ref('fct_bills') }} as bills
        on bills.team_id = lines.team_id
        and bills.subscription_key = lines.subscription_key
        and bills.period_start = lines.period_start
    where lines.kind = 'credit'
    group by lines.team_id, lines.line_key
),

teams as (
    select * from {{ ref('stg_billing__teams') }}
),

totals as (
    select
        grants.*,
        coalesce(drawn.drawn_by_final_bills, 0) as drawn_by_final_bills,
        coalesce(drawn.drawn_by_open_bills, 0) as drawn_by_open_bills,
        grants.amount - coalesce(drawn.drawn_by_final_bills, 0) - coalesce(drawn.drawn_by_open_bills, 0) as is_left
    from grants
    left join drawn
        on drawn.team_id = grants.team_id
        and drawn.line_key = 'credit@' || grants.grant_key
)

select
    totals.team_id,
    teams.team_key,
    totals.grant_key,
    totals.currency::text as currency,
    {{ in_minor_units('totals.amount', 'currencies') }} as amount,
    {{ in_minor_units('totals.drawn_by_final_bills', 'currencies') }} as drawn_by_final_bills,
    {{ in_minor_units('totals.drawn_by_open_bills', 'currencies') }} as drawn_by_open_bills,
    {{ in_minor_units('case when totals.expires_at > now() then 0 else totals.is_left end', 'currencies') }} as expired_amount,
    {{ in_minor_units('case when totals.expires_at > now() then totals.is_left else 0 end', 'currencies') }} as deferred_amount,
    totals.effective_from,
    nullif(totals.expires_at, 'infinity') as expires_at,
    totals.reason,
    totals.granted_by,
    totals.recorded_at
from totals
inner join teams on teams.team_id = totals.team_id
inner join {{ source('billing', 'currencies') }} as currencies on currencies.currency = totals.currency
