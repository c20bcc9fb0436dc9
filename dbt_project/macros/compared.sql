{#- The half-open range of usage that a session compares, cut at quarter-hours: see int_windows_differing. Unset: none. -#}
{% macro compared_from() -%}
    nullif(current_setting('billing.compared_from', true), '')::timestamptz
{%- endmacro %}

{% macro compared_until() -%}
    nullif(current_setting('billing.compared_until', true), '')::timestamptz
{%- endmacro %}
