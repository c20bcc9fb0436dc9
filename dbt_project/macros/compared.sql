{#-
    The half-open range of usage that a session compares, cut at quarter-hours: see int_windows_differing. Unset: none. Selected, so that
    a setting is read once, and not for each of millions of rows.
-#}
{% macro compared_from() -%}
    (select nullif(current_setting('billing.compared_from', true), '')::timestamptz)
{%- endmacro %}

{% macro compared_until() -%}
    (select nullif(current_setting('billing.compared_until', true), '')::timestamptz)
{%- endmacro %}
