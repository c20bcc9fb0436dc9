{{ config(tags=['deploy']) }}

-- The prepaid credits of a team in one currency, those that expire first before the others, as arrays of one length; amounts are
-- what final bills have left of them.
with

drawn as (
    select
        team_id,
        line_key,
        sum(amount) as amount
    from {{ ref('int_lines_finalized') }}
    where kind = 'credit'
    group by team_id, line_key
)

select
    grants.team_id,
    grants.currency,
    array_agg('credit@' || grants.grant_key order by grants.expires_at, grants.effective_from, grants.grant_key) as line_keys,
    array_agg(
        grants.amount + coalesce(drawn.amount, 0) order by grants.expires_at, grants.effective_from, grants.grant_key
    ) as amounts,
    array_agg(grants.effective_from order by grants.expires_at, grants.effective_from, grants.grant_key) as effective,
    array_agg(grants.expires_at order by grants.expires_at, grants.effective_from, grants.grant_key) as expiring
from {{ source('billing', 'credit_grants') }} as grants
left join drawn
    on drawn.team_id = grants.team_id
    and drawn.line_key = 'credit@' || grants.grant_key
where grants.recorded_at <= {{ as_of() }}
group by grants.team_id, grants.currency
