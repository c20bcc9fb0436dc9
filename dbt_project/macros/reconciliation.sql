{#-
    The same usage of billing periods at every step from raw events to Stripe. `periods` is a relation of team_id,
    subscription_key, period_start, period_end, period_label and currency. The mart asks of all periods that can still move,
    the service of one.
-#}
{% macro reconciliation(periods) -%}
with

periods as (
    select * from {{ periods }}
),

meters as (
    select * from {{ ref('stg_billing__meters') }}
),

teams as (
    select * from {{ ref('stg_billing__teams') }}
),

usage_known as (
    select * from {{ ref('int_usage_known') }}
),

horizon as (
    select coalesce(max(recorded_until), '-infinity'::timestamptz) as recorded_until
    from {{ source('billing', 'metering_runs') }}
),

priced_meters as (
    select distinct
        segments.team_id,
        segments.subscription_key,
        segments.period_start,
        segments.meter_id
    from {{ ref('int_price_segments') }} as segments
    inner join periods using (team_id, subscription_key, period_start)
),

-- From the raw events at once, by no way that metering took.
events as (
    select
        periods.team_id,
        periods.subscription_key,
        periods.period_start,
        meters.meter_id,
        count(*) as event_count,
        case min(meters.aggregation)
            when 'count' then count(*)
            else coalesce(sum({{ meter_value('landed', 'meters') }}), 0)
        end as quantity
    from {{ ref('stg_landing__usage_events') }} as landed
    inner join periods
        on periods.team_id = landed.team_id
        and landed.occurred_at >= periods.period_start
        and landed.occurred_at < periods.period_end
    inner join meters on meters.event_name = landed.event_name
    where landed.recorded_at <= (select recorded_until from horizon)
        and landed.occurred_at >= (select min(period_start) from periods)
        and {{ passes_filters('landed', 'meters') }}
    group by periods.team_id, periods.subscription_key, periods.period_start, meters.meter_id
),

metered as (
    select
        periods.team_id,
        periods.subscription_key,
        periods.period_start,
        usage_known.meter_id,
        sum(usage_known.event_count) as event_count,
        sum(usage_known.quantity) as quantity
    from usage_known
    inner join periods
        on periods.team_id = usage_known.team_id
        and usage_known.bucket_start >= periods.period_start
        and usage_known.bucket_start < periods.period_end
    group by periods.team_id, periods.subscription_key, periods.period_start, usage_known.meter_id
),

rated as (
    select
        team_id,
        subscription_key,
        period_start,
        meter_id,
        sum(quantity) as quantity,
        sum(amount) as amount
    from {{ ref('int_lines_rated') }}
    group by team_id, subscription_key, period_start, meter_id
),

billed as (
    select
        team_id,
        subscription_key,
        about_period_start as period_start,
        meter_id,
        sum(quantity) as quantity,
        sum(amount) as amount
    from {{ ref('fct_bill_lines') }}
    group by team_id, subscription_key, about_period_start, meter_id
),

latest_targets as (
    select distinct on (team_id, meter_id, window_start, window_end, dimensions)
        team_id,
        meter_id,
        window_start,
        quantity
    from {{ source('billing', 'stripe_targets') }}
    order by team_id, meter_id, window_start, window_end, dimensions, revision desc
),

ledger as (
    select
        periods.team_id,
        periods.subscription_key,
        periods.period_start,
        latest_targets.meter_id,
        sum(latest_targets.quantity) as quantity
    from latest_targets
    inner join periods
        on periods.team_id = latest_targets.team_id
        and latest_targets.window_start >= periods.period_start
        and latest_targets.window_start < periods.period_end
    group by periods.team_id, periods.subscription_key, periods.period_start, latest_targets.meter_id
),

submitted as (
    select
        periods.team_id,
        periods.subscription_key,
        periods.period_start,
        submissions.meter_id,
        sum(submissions.quantity) as quantity
    from {{ source('billing', 'stripe_submissions') }} as submissions
    inner join periods
        on periods.team_id = submissions.team_id
        and submissions.window_start >= periods.period_start
        and submissions.window_start < periods.period_end
    where submissions.state in ('accepted', 'confirmed')
    group by periods.team_id, periods.subscription_key, periods.period_start, submissions.meter_id
),

observed as (
    select distinct on (team_id, subscription_key, period_start, meter_id)
        team_id,
        subscription_key,
        period_start,
        meter_id,
        stripe_quantity,
        verdict,
        observed_at
    from {{ source('billing', 'stripe_observations') }}
    order by team_id, subscription_key, period_start, meter_id, observed_at desc
),

grain as (
    select
        periods.*,
        teams.team_key,
        meters.meter_id,
        meters.meter_key,
        meters.is_additive
    from periods
    inner join teams on teams.team_id = periods.team_id
    cross join meters
),

compared as (
    select
        grain.*,
        priced_meters.meter_id is not null as is_priced,
        coalesce(events.event_count, 0) as events_landed,
        coalesce(metered.event_count, 0) as events_metered,
        -- What does not add up has no sum to compare: of it the events are counted, and the bill compared with what was rated.
        case when grain.is_additive then coalesce(events.quantity, 0) else coalesce(rated.quantity, 0) end as landed_quantity,
        case when grain.is_additive then coalesce(metered.quantity, 0) else coalesce(rated.quantity, 0) end as metered_quantity,
        coalesce(rated.quantity, 0) as rated_quantity,
        coalesce(billed.quantity, 0) as billed_quantity,
        case when grain.is_additive then coalesce(ledger.quantity, 0) else coalesce(billed.quantity, 0) end as ledger_quantity,
        case when grain.is_additive then coalesce(submitted.quantity, 0) else coalesce(billed.quantity, 0) end as submitted_quantity,
        case when grain.is_additive then coalesce(observed.stripe_quantity, 0) else coalesce(billed.quantity, 0) end as stripe_quantity,
        coalesce(rated.amount, 0) as rated_amount,
        coalesce(billed.amount, 0) as billed_amount,
        observed.verdict as stripe_verdict,
        observed.observed_at as stripe_observed_at
    from grain
    left join priced_meters using (team_id, subscription_key, period_start, meter_id)
    left join events using (team_id, subscription_key, period_start, meter_id)
    left join metered using (team_id, subscription_key, period_start, meter_id)
    left join rated using (team_id, subscription_key, period_start, meter_id)
    left join billed using (team_id, subscription_key, period_start, meter_id)
    left join ledger using (team_id, subscription_key, period_start, meter_id)
    left join submitted using (team_id, subscription_key, period_start, meter_id)
    left join observed using (team_id, subscription_key, period_start, meter_id)
    where priced_meters.meter_id is not null or events.meter_id is not null or metered.meter_id is not null
)

select
    team_id,
    team_key,
    subscription_key,
    period_start,
    period_end,
    period_label::text as period_label,
    currency::text as currency,
    meter_id,
    meter_key,
    is_priced,
    events_landed::bigint as events_landed,
    events_metered::bigint as events_metered,
    landed_quantity::numeric(100, 12) as landed_quantity,
    metered_quantity::numeric(100, 12) as metered_quantity,
    rated_quantity::numeric(100, 12) as rated_quantity,
    billed_quantity::numeric(100, 12) as billed_quantity,
    ledger_quantity::numeric(100, 12) as ledger_quantity,
    submitted_quantity::numeric(100, 12) as submitted_quantity,
    stripe_quantity::numeric(100, 12) as stripe_quantity,
    rated_amount::numeric(100, 12) as rated_amount,
    billed_amount::numeric(100, 12) as billed_amount,
    (landed_quantity - metered_quantity)::numeric(100, 12) as landed_minus_metered,
    (case when is_priced then metered_quantity - rated_quantity else 0 end)::numeric(100, 12) as metered_minus_rated,
    (rated_quantity - billed_quantity)::numeric(100, 12) as rated_minus_billed,
    (rated_amount - billed_amount)::numeric(100, 12) as rated_minus_billed_amount,
    (billed_quantity - ledger_quantity)::numeric(100, 12) as billed_minus_ledger,
    (ledger_quantity - submitted_quantity)::numeric(100, 12) as ledger_minus_submitted,
    (submitted_quantity - stripe_quantity)::numeric(100, 12) as submitted_minus_stripe,
    (
        landed_quantity = metered_quantity
        and events_landed = events_metered
        and (not is_priced or metered_quantity = rated_quantity)
        and rated_quantity = billed_quantity
        and rated_amount = billed_amount
        and billed_quantity = ledger_quantity
        and ledger_quantity = submitted_quantity
        and submitted_quantity = stripe_quantity
    ) as is_reconciled,
    stripe_verdict::text as stripe_verdict,
    stripe_observed_at
from compared
{%- endmacro %}
