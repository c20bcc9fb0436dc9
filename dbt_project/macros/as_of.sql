{#-
    The moment as of which a session asks: `set billing.as_of = '2026-10-03T12:00:00Z'`. Unset: everything known.
    Every model from staging to bills reads through these two macros, so that a bill of the past is built by today's models.
-#}
{% macro as_of() -%}
    coalesce(nullif(current_setting('billing.as_of', true), '')::timestamptz, 'infinity'::timestamptz)
{%- endmacro %}

{#-
    Whether what was recorded then is known as of that moment, for what reads events by the million: the setting is read once, and not
    for each row. Mostly everything is known. Said so, it is also no condition for the index on recorded_at, which would be read
    as a whole for each quarter-hour that is looked up, and take the longer the more history there is.
-#}
{% macro is_known(recorded_at) -%}
    ((select {{ as_of() }}) = 'infinity' or {{ recorded_at }} <= (select {{ as_of() }}))
{%- endmacro %}

{#- The same of a version, known from `recorded_from` to `recorded_to`: int_usage_recorded, for who reads all of it. -#}
{% macro is_known_version() -%}
    (
        {{ is_known('recorded_from') }}
        and (recorded_to = 'infinity' or recorded_to > (select {{ as_of() }}))
    )
{%- endmacro %}

{#- The present moment of a session that asks as of the past is that moment. -#}
{% macro as_of_now() -%}
    least({{ as_of() }}, now())
{%- endmacro %}
