{#-
    What metering has not worked in yet, where a session has counted it (int_usage_unmetered) and wants it in all views: JSON rows
    in `billing.unmetered_usage`, set local. Unset, as in every run: nothing, and the views read what metering has worked in.
    Counted once and handed on, it costs its readers neither a second count nor a plan of it.
-#}
{% macro unmetered_setting() -%}
    nullif(current_setting('billing.unmetered_usage', true), '')::jsonb
{%- endmacro %}

{% macro unmetered_rows(alias) -%}
    jsonb_to_recordset({{ unmetered_setting() }}) as {{ alias }} (
        team_id integer, meter_id integer, bucket_start timestamptz, dimensions jsonb, member text, event_count bigint,
        quantity numeric, passed_quantity_seconds numeric, decided_at timestamptz
    )
{%- endmacro %}

{#- The team that a session asks about: `set local billing.asked_team = '7'`. Unset: no team. -#}
{% macro asked_team() -%}
    nullif(current_setting('billing.asked_team', true), '')::integer
{%- endmacro %}

{#-
    Whether a row is of the team that the session asks about; of any, where it asks about none. A range, since the planner finds that by an
    index, and with the settings' own values, which it would not for "no team or this one".
-#}
{% macro of_asked_team(team_id) -%}
    {{ team_id }} between coalesce({{ asked_team() }}, 0) and coalesce({{ asked_team() }}, 2147483647)
{%- endmacro %}
