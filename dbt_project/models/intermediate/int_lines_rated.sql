{{ config(tags=['deploy']) }}

-- What each segment of each period is worth by what is known: a line of kind usage for what its tiers cost, and, where anything
-- stands around its price, or around all prices of its plan, a line for what that adds or takes. Together the lines of a price are
-- its net amount, rounded once, half away from zero, to the currency's minor unit: each is the difference between two such amounts.
with

tiers_known as (
    select * from {{ ref('int_tiers_known') }}
),

terms as not materialized (
    select * from {{ ref('int_price_terms') }}
),

currencies as (
    select * from {{ source('billing', 'currencies') }}
),

parts as (
    select
        team_id,
        subscription_key,
        period_start,
        is_finalized,
        line_key,
        meter_id,
        price_version_id,
        currency,
        plan_id,
        plan_key,
        stretch_from,
        stretch_days,
        window_unit,
        segment_days,
        cycle_days,
        part,
        sum(quantity) as quantity,
        sum(event_count) as event_count,
        sum(tier_quantity) as charge_quantity,
        sum(amount) as amount
    from tiers_known
    group by
        team_id, subscription_key, period_start, is_finalized, line_key, meter_id, price_version_id, currency, plan_id, plan_key,
        stretch_from, stretch_days, window_unit, segment_days, cycle_days, part
),

-- A commitment holds for each part that is priced by itself; it, a minimum and a maximum are owed for the days that the segment
-- covers. That of an hour or a day is owed whole.
parts_committed as (
    select
        parts.*,
        case
            when parts.window_unit is null then terms.commitment_amount * parts.segment_days / parts.cycle_days
            else terms.commitment_amount
        end as commitment
    from parts
    left join terms on terms.price_version_id = parts.price_version_id
),

lines as (
    select
        team_id,
        subscription_key,
        period_start,
        is_finalized,
        line_key,
        meter_id,
        price_version_id,
        currency,
        plan_id,
        plan_key,
        stretch_from,
        stretch_days,
        segment_days,
        cycle_days,
        sum(quantity) as quantity,
        sum(event_count) as event_count,
        sum(charge_quantity) as charge_quantity,
        sum(amount) as amount,
        coalesce(sum(greatest(amount - commitment, 0)) filter (where commitment is not null), 0) as beyond_commitment,
        coalesce(sum(greatest(commitment - amount, 0)) filter (where commitment is not null), 0) as missing_to_commitment
    from parts_committed
    group by
        team_id, subscription_key, period_start, is_finalized, line_key, meter_id, price_version_id, currency, plan_id, plan_key,
        stretch_from, stretch_days, segment_days, cycle_days
),

prorated as (
    select
        lines.*,
        terms.price_version_id is not null as has_terms,
        terms.overage_factor,
        terms.is_trued_up,
        terms.discount_percent,
        terms.minimum_amount * lines.segment_days / lines.cycle_days as minimum,
        terms.maximum_amount * lines.segment_days / lines.cycle_days as maximum
    from lines
    left join terms on terms.price_version_id = lines.price_version_id
),

totals as (
    select
        prorated.*,
        case
            when has_terms
                then {{ price_steps('prorated.amount', 'beyond_commitment', 'missing_to_commitment', 'prorated') }}
            else array[amount]
        end as steps
    from prorated
),

stepped as (
    select
        totals.*,
        generate_series(1, cardinality(steps)) as step
    from totals
),

settled as (
    select
        stepped.team_id,
        stepped.subscription_key,
        stepped.period_start,
        stepped.is_finalized,
        case stepped.step when 1 then stepped.line_key else stepped.line_key || '#' || ({{ step_kinds() }})[step] end as line_key,
        ({{ step_kinds() }})[step] as kind,
        stepped.meter_id,
        stepped.price_version_id,
        stepped.currency,
        stepped.plan_id,
        stepped.plan_key,
        stepped.stretch_from,
        stepped.stretch_days,
        stepped.cycle_days,
        currencies.exponent,
        case stepped.step when 1 then stepped.quantity else 0 end as quantity,
        case stepped.step when 1 then stepped.charge_quantity else 0 end as charge_quantity,
        case stepped.step when 1 then stepped.event_count else 0 end as event_count,
        stepped.steps[step] - case stepped.step when 1 then 0 else stepped.steps[step - 1] end as exact_amount,
        round(stepped.steps[step], currencies.exponent)
        - case stepped.step when 1 then 0 else round(stepped.steps[step - 1], currencies.exponent) end as amount
    from stepped
    inner join currencies on currencies.currency = stepped.currency
    where stepped.step = 1 or stepped.steps[step] <> stepped.steps[step - 1]
),

-- What stands around a plan is about all lines of the stretch of the period in which the subscription is on it, and follows the
-- first of them.
of_plans as (
    select
        settled.*,
        sum(settled.amount) over of_a_stretch as stretch_amount,
        row_number() over (of_a_stretch order by settled.line_key) as place
    from settled
    window of_a_stretch as (
        partition by settled.team_id, settled.subscription_key, settled.period_start, settled.plan_id, settled.stretch_from
    )
),

plans_prorated as (
    select
        of_plans.*,
        plan_terms.plan_id is not null as has_terms,
        plan_terms.overage_factor,
        plan_terms.is_trued_up,
        plan_terms.discount_percent,
        plan_terms.commitment_amount * of_plans.stretch_days / of_plans.cycle_days as commitment,
        plan_terms.minimum_amount * of_plans.stretch_days / of_plans.cycle_days as minimum,
        plan_terms.maximum_amount * of_plans.stretch_days / of_plans.cycle_days as maximum
    from of_plans
    left join {{ ref('stg_billing__plan_terms') }} as plan_terms
        on of_plans.place = 1
        and plan_terms.plan_id = of_plans.plan_id
        and plan_terms.currency = of_plans.currency
        and plan_terms.effective_from <= of_plans.stretch_from
        and plan_terms.effective_until > of_plans.stretch_from
),

plan_totals as (
    select
        plans_prorated.*,
        case
            when has_terms
                then {{ price_steps(
                    'stretch_amount', 'greatest(stretch_amount - coalesce(commitment, stretch_amount), 0)',
                    'greatest(coalesce(commitment, stretch_amount) - stretch_amount, 0)', 'plans_prorated'
                ) }}
        end as steps
    from plans_prorated
),

plan_stepped as (
    select
        plan_totals.*,
        generate_series(1, case when has_terms then cardinality(steps) else 1 end) as step
    from plan_totals
)

select
    team_id,
    subscription_key,
    period_start,
    is_finalized,
    case
        when step = 1 then line_key
        else plan_key || '@' || to_char(stretch_from at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI"Z"') || '#' || ({{ step_kinds() }})[step]
    end as line_key,
    case when step = 1 then kind else ({{ step_kinds() }})[step] end as kind,
    case when step = 1 then meter_id end as meter_id,
    case when step = 1 then price_version_id end as price_version_id,
    currency,
    case when step = 1 then quantity else 0 end as quantity,
    case when step = 1 then charge_quantity else 0 end as charge_quantity,
    case when step = 1 then event_count else 0 end as event_count,
    case when step = 1 then exact_amount else steps[step] - steps[step - 1] end as exact_amount,
    case when step = 1 then amount else round(steps[step], exponent) - round(steps[step - 1], exponent) end as amount
from plan_stepped
where step = 1 or steps[step] <> steps[step - 1]
