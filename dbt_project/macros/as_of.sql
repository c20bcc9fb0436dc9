{#-
    The moment as of which a session asks: `set billing.as_of = '2026-10-03T12:00:00Z'`. Unset: everything known.
    Every model from staging to bills reads through these two macros, so that a bill of the past is built by today's models.
-#}
{% macro as_of() -%}
    coalesce(nullif(current_setting('billing.as_of', true), '')::timestamptz, 'infinity'::timestamptz)
{%- endmacro %}

{#- The present moment of a session that asks as of the past is that moment. -#}
{% macro as_of_now() -%}
    least({{ as_of() }}, now())
{%- endmacro %}
