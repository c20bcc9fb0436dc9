{{ config(tags=['deploy']) }}

-- What is known now about a finalized period, less what has been billed about it: due on the first period that is still open.
with

lines_rated as (
    select * from {{ ref('int_lines_rated') }}
    where is_finalized
),

lines_finalized as (
    select * from {{ ref('int_lines_finalized') }} as kept
    where {{ is_rated_here('kept', 'about_period_start') }}
),

periods as (
    select * from {{ ref('int_billing_periods') }}
),

billed as (
    select
        team_id,
        subscription_key,
        about_period_start,
        about_line_key,
        min(meter_id) as meter_id,
        max(price_version_id) as price_version_id,
        sum(quantity) as quantity,
        sum(charge_quantity) as charge_quantity,
        sum(amount) as amount
    from lines_finalized
    group by team_id, subscription_key, about_period_start, about_line_key
),

first_open_periods as (
    select team_id, subscription_key, min(period_start) as period_start
    from periods
    where not is_finalized
    group by team_id, subscription_key
),

differences as (
    select
        coalesce(lines_rated.team_id, billed.team_id) as team_id,
        coalesce(lines_rated.subscription_key, billed.subscription_key) as subscription_key,
        coalesce(lines_rated.period_start, billed.about_period_start) as about_period_start,
        coalesce(lines_rated.line_key, billed.about_line_key) as about_line_key,
        coalesce(lines_rated.meter_id, billed.meter_id) as meter_id,
        coalesce(lines_rated.price_version_id, billed.price_version_id) as price_version_id,
        coalesce(lines_rated.quantity, 0) - coalesce(billed.quantity, 0) as quantity,
        coalesce(lines_rated.charge_quantity, 0) - coalesce(billed.charge_quantity, 0) as charge_quantity,
        coalesce(lines_rated.amount, 0) - coalesce(billed.amount, 0) as amount
    from lines_rated
    full outer join billed
        on billed.team_id = lines_rated.team_id
        and billed.subscription_key = lines_rated.subscription_key
        and billed.about_period_start = lines_rated.period_start
        and billed.about_line_key = lines_rated.line_key
)

select
    differences.team_id,
    differences.subscription_key,
    first_open_periods.period_start,
    'adjustment ' || about_periods.period_label || ' ' || differences.about_line_key as line_key,
    differences.about_period_start,
    about_periods.period_label as about_period_label,
    differences.meter_id,
    differences.price_version_id,
    differences.quantity,
    differences.charge_quantity,
    differences.amount
from differences
inner join periods as about_periods
    on about_periods.team_id = differences.team_id
    and about_periods.subscription_key = differences.subscription_key
    and about_periods.period_start = differences.about_period_start
left join first_open_periods
    on first_open_periods.team_id = differences.team_id
    and first_open_periods.subscription_key = differences.subscription_key
where differences.amount <> 0 or differences.quantity <> 0
