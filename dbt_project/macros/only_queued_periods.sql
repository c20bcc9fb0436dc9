{#-
    Rating in a run is about the billing periods that are queued, and nothing else is computed: what comes before bills (segments,
    usage by interval, what has been billed) asks `is_rated_here`, and the marts' increments leave only those in the end. Everywhere
    else (reports, plans, bills of the past) the same views are about every period.

    `rate_queued_periods` is the hook by which an increment says so, for its transaction: what is rated, and since when usage of it
    counts. A level counts all that came before, so with one there is no such moment.
-#}
{% macro rate_queued_periods() -%}
    {% if is_incremental() -%}
    select
        set_config('billing.rated_periods', 'queued', true),
        set_config('billing.usage_from', (
            select case
                when exists (select 1 from {{ source('billing', 'meters') }} as meters where meters.aggregation = 'weighted_sum') then ''
                else coalesce(min(queue.period_start)::text, '')
            end
            from {{ source('billing', 'periods_to_rate') }} as queue
        ), true)
    {%- endif %}
{%- endmacro %}

{#- Whether the session is a run that rates the periods that are queued, from what metering has just made. -#}
{% macro rates_queued_periods() -%}
    coalesce(current_setting('billing.rated_periods', true), '') = 'queued'
{%- endmacro %}

{#-
    Whether a row is about a period that is rated here: `period` is the column that says which. The queue is named as it is, so that it
    is none of the inputs that a unit test of a view has to give.
-#}
{% macro is_rated_here(relation, period='period_start') -%}
    (
        not {{ rates_queued_periods() }}
        or exists (
            select 1
            from billing.periods_to_rate as rated_here
            where rated_here.team_id = {{ relation }}.team_id
                and rated_here.subscription_key = {{ relation }}.subscription_key
                and rated_here.period_start = {{ relation }}.{{ period }}
        )
    )
{%- endmacro %}

{#- Usage before this does not count in what the session computes. A setting, and no subquery, so that the planner knows it. -#}
{% macro usage_from() -%}
    coalesce(nullif(current_setting('billing.usage_from', true), '')::timestamptz, '-infinity'::timestamptz)
{%- endmacro %}

{#- In an incremental run, the condition that leaves only the billing periods that are queued. -#}
{% macro only_queued_periods(relation, period='period_start') -%}
    {% if is_incremental() -%}
    where exists (
        select 1
        from {{ source('billing', 'periods_to_rate') }} as queue
        where queue.team_id = {{ relation }}.team_id
            and queue.subscription_key = {{ relation }}.subscription_key
            and queue.period_start = {{ relation }}.{{ period }}
    )
    {%- endif %}
{%- endmacro %}
