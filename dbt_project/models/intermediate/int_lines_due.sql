{{ config(tags=['deploy']) }}

-- What is due on bills that are open: the lines of their own periods, and, of periods that are final, what is known now less what
-- has been billed about them, on the first period that is still open. Rating is read once for both.
with

-- Read for one team as for all: a CTE that is read twice would be read as a whole.
periods as not materialized (
    select * from {{ ref('int_billing_periods') }}
),

known_and_billed as (
    select
        team_id,
        subscription_key,
        period_start as about_period_start,
        line_key as about_line_key,
        is_finalized,
        kind,
        meter_id,
        price_version_id,
        quantity,
        charge_quantity,
        exact_amount,
        amount
    from {{ ref('int_lines_rated') }}
    union all
    select
        team_id,
        subscription_key,
        about_period_start,
        about_line_key,
        true as is_finalized,
        null as kind,
        meter_id,
        price_version_id,
        -quantity,
        -charge_quantity,
        -amount as exact_amount,
        -amount
    from {{ ref('int_lines_finalized') }} as kept
    where about_line_key is not null and {{ is_rated_here('kept', 'about_period_start') }}
),

first_open_periods as (
    select team_id, subscription_key, min(period_start) as period_start
    from periods
    where not is_finalized
    group by team_id, subscription_key
),

differences as (
    select
        team_id,
        subscription_key,
        about_period_start,
        about_line_key,
        is_finalized,
        min(kind) as kind,
        min(meter_id) as meter_id,
        coalesce(max(price_version_id) filter (where kind is not null), max(price_version_id)) as price_version_id,
        sum(quantity) as quantity,
        sum(charge_quantity) as charge_quantity,
        sum(exact_amount) as exact_amount,
        sum(amount) as amount
    from known_and_billed
    group by team_id, subscription_key, about_period_start, about_line_key, is_finalized
)

select
    differences.team_id,
    differences.subscription_key,
    case when differences.is_finalized then first_open_periods.period_start else differences.about_period_start end as period_start,
    case
        when differences.is_finalized then 'adjustment ' || about_periods.period_label || ' ' || differences.about_line_key
        else differences.about_line_key
    end as line_key,
    case when differences.is_finalized then 'adjustment' else differences.kind end as kind,
    differences.about_period_start,
    about_periods.period_label as about_period_label,
    differences.meter_id,
    differences.price_version_id,
    differences.quantity,
    differences.charge_quantity,
    case when differences.is_finalized then differences.amount else differences.exact_amount end as exact_amount,
    differences.amount
from differences
inner join periods as about_periods
    on about_periods.team_id = differences.team_id
    and about_periods.subscription_key = differences.subscription_key
    and about_periods.period_start = differences.about_period_start
left join first_open_periods
    on first_open_periods.team_id = differences.team_id
    and first_open_periods.subscription_key = differences.subscription_key
where not differences.is_finalized or differences.amount <> 0 or differences.quantity <> 0
