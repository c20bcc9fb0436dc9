{#- In an incremental run, the condition that leaves only the billing periods that are queued. -#}
{% macro only_queued_periods(relation) -%}
    {% if is_incremental() -%}
    where exists (
        select 1
        from {{ source('billing', 'periods_to_rate') }} as queue
        where queue.team_id = {{ relation }}.team_id
            and queue.subscription_key = {{ relation }}.subscription_key
            and queue.period_start = {{ relation }}.period_start
    )
    {%- endif %}
{%- endmacro %}
