{#- What the models are told by the settings of the product; see docs/operations.md. -#}

{#- The currency that reports convert to. -#}
{% macro reporting_currency() -%}
    '{{ env_var("BILLING_REPORTING_CURRENCY", "EUR") }}'
{%- endmacro %}

{#- How far back usage can be asked by the minute. -#}
{% macro minutes_kept() -%}
    interval '{{ env_var("BILLING_MINUTE_DAYS", "3") | int }} days'
{%- endmacro %}
