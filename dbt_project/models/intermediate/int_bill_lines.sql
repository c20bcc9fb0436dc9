{{ config(tags=['deploy']) }}

-- The lines of every bill: as finalized where it is final; otherwise what is due, and the credits that it draws.
with

periods as not materialized (
    select * from {{ ref('int_billing_periods') }}
),

lines_due as (
    select
        lines.team_id,
        lines.subscription_key,
        lines.period_start,
        lines.line_key,
        lines.kind,
        lines.about_period_start,
        lines.meter_id,
        lines.price_version_id,
        lines.quantity,
        lines.charge_quantity,
        lines.exact_amount,
        lines.amount,
        periods.period_end,
        periods.period_label,
        periods.currency,
        sum(lines.amount) over of_a_bill as bill_amount,
        row_number() over (of_a_bill order by lines.line_key) as place
    from {{ ref('int_lines_due') }} as lines
    inner join periods
        on periods.team_id = lines.team_id
        and periods.subscription_key = lines.subscription_key
        and periods.period_start = lines.period_start
    window of_a_bill as (partition by lines.team_id, lines.subscription_key, lines.period_start)
),

-- Each bill draws once, on its first line: what is left of the credits after it.
drawing as (
    select
        lines_due.*,
        credits.line_keys,
        credits.amounts,
        billing.credits_left(
            greatest(lines_due.bill_amount, 0), lines_due.period_start, lines_due.period_end, credits.amounts,
            credits.effective, credits.expiring
        ) filter (where lines_due.place = 1 and credits.team_id is not null) over bills as credits_left
    from lines_due
    left join {{ ref('int_credits') }} as credits
        on credits.team_id = lines_due.team_id
        and credits.currency = lines_due.currency
    window bills as (
        partition by lines_due.team_id, lines_due.currency
        order by lines_due.period_start, lines_due.subscription_key, lines_due.place
        rows unbounded preceding
    )
),

drawn as (
    select
        drawing.*,
        coalesce(lag(drawing.credits_left) over bills, drawing.amounts) as credits_before
    from drawing
    window bills as (
        partition by drawing.team_id, drawing.currency
        order by drawing.period_start, drawing.subscription_key, drawing.place
    )
),

-- The line itself, and after the first line of a bill one for each of the team's credits.
lines_and_credits as (
    select
        drawn.*,
        generate_series(0, case when drawn.place = 1 then coalesce(cardinality(drawn.line_keys), 0) else 0 end) as credit
    from drawn
),

open_lines as (
    select
        team_id,
        subscription_key,
        period_start,
        case when credit = 0 then line_key else line_keys[credit] end as line_key,
        case when credit = 0 then kind else 'credit' end as kind,
        case when credit = 0 then about_period_start else period_start end as about_period_start,
        case when credit = 0 then meter_id end as meter_id,
        case when credit = 0 then price_version_id end as price_version_id,
        case when credit = 0 then quantity else 0 end as quantity,
        case when credit = 0 then charge_quantity else 0 end as charge_quantity,
        case when credit = 0 then exact_amount else credits_left[credit] - credits_before[credit] end as exact_amount,
        case when credit = 0 then amount else credits_left[credit] - credits_before[credit] end as amount,
        period_end,
        period_label,
        currency,
        false as is_finalized
    from lines_and_credits
    where credit = 0 or credits_left[credit] <> credits_before[credit]
)

select * from open_lines
union all
select
    lines.team_id,
    lines.subscription_key,
    lines.period_start,
    lines.line_key,
    lines.kind,
    lines.about_period_start,
    lines.meter_id,
    lines.price_version_id,
    lines.quantity,
    lines.charge_quantity,
    lines.exact_amount,
    lines.amount,
    periods.period_end,
    periods.period_label,
    periods.currency,
    periods.is_finalized
from {{ ref('int_lines_finalized') }} as lines
inner join periods
    on periods.team_id = lines.team_id
    and periods.subscription_key = lines.subscription_key
    and periods.period_start = lines.period_start
