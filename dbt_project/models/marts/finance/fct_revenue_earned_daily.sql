{{ config(materialized='view', tags=['deploy']) }}

-- A line is earned as its meter was used, day by day; one without usage evenly over the days of its period that have begun. What is
-- earned up to a day is rounded, and a day is the difference of two such amounts, so that the days add up to the bill.
with

lines as (
    select * from {{ ref('fct_bill_lines') }}
),

periods as (
    select * from {{ ref('fct_billing_periods') }}
),

days as (
    select
        periods.team_id,
        periods.subscription_key,
        periods.period_start,
        day::date as day
    from periods
    cross join lateral generate_series(
        periods.first_day::timestamp,
        greatest(periods.first_day, least(periods.last_day, (now() at time zone periods.time_zone)::date))::timestamp,
        interval '1 day'
    ) as day
),

used as (
    select
        team_id,
        meter_id,
        local_day::date as day,
        sum(quantity) as quantity
    from {{ ref('fct_usage_daily') }}
    where quantity > 0
    group by team_id, meter_id, local_day
),

weighed as (
    select
        lines.team_id,
        lines.team_key,
        lines.subscription_key,
        lines.period_start,
        lines.period_label,
        lines.line_key,
        lines.currency,
        lines.amount,
        days.day,
        case when lines.kind = 'usage' then used.quantity end as quantity,
        sum(case when lines.kind = 'usage' then used.quantity end) over of_a_line as line_quantity,
        sum(case when lines.kind = 'usage' then used.quantity end) over of_a_line_so_far as quantity_so_far,
        count(*) over of_a_line as line_days,
        row_number() over of_a_line_so_far as days_so_far
    from lines
    inner join days
        on days.team_id = lines.team_id
        and days.subscription_key = lines.subscription_key
        and days.period_start = lines.period_start
    left join used
        on used.team_id = lines.team_id
        and used.meter_id = lines.meter_id
        and used.day = days.day
    window
        of_a_line as (partition by lines.team_id, lines.subscription_key, lines.period_start, lines.line_key),
        of_a_line_so_far as (
            partition by lines.team_id, lines.subscription_key, lines.period_start, lines.line_key order by days.day
        )
),

earned_so_far as (
    select
        weighed.*,
        currencies.exponent,
        round(
            weighed.amount * case
                when weighed.line_quantity > 0 then coalesce(weighed.quantity_so_far, 0) / weighed.line_quantity
                else weighed.days_so_far::numeric / weighed.line_days
            end,
            currencies.exponent
        ) as amount_so_far
    from weighed
    inner join {{ source('billing', 'currencies') }} as currencies on currencies.currency = weighed.currency
),

earned as (
    select
        earned_so_far.*,
        amount_so_far - coalesce(
            lag(amount_so_far) over (partition by team_id, subscription_key, period_start, line_key order by day), 0
        ) as day_amount
    from earned_so_far
)

select
    earned.team_id,
    earned.team_key,
    earned.subscription_key,
    earned.period_start,
    earned.period_label,
    earned.day,
    earned.currency,
    {{ in_minor_units('sum(earned.day_amount)', 'earned') }} as earned_amount,
    {{ in_minor_units("case when periods.finalized_at is null then sum(earned.day_amount) else 0 end", 'earned') }}
        as not_yet_billed_amount,
    periods.status as bill_status
from earned
inner join periods
    on periods.team_id = earned.team_id
    and periods.subscription_key = earned.subscription_key
    and periods.period_start = earned.period_start
group by
    earned.team_id, earned.team_key, earned.subscription_key, earned.period_start, earned.period_label, earned.day,
    earned.currency, earned.exponent, periods.status, periods.finalized_at
