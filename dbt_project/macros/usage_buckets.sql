{#- Quarter-hours feed the local hours and days of every zone: each offset in use today is a multiple of 15 minutes. -#}
{% macro bucket_of(moment) -%}
    date_bin('15 minutes', {{ moment }}, '2000-01-01Z')
{%- endmacro %}

{#- The value that a meter takes from an event. -#}
{% macro meter_value(events, meters) -%}
    case
        when {{ meters }}.value_property is null then {{ events }}.quantity
        else ({{ events }}.properties ->> {{ meters }}.value_property)::numeric
    end
{%- endmacro %}

{#- The slice of usage that an event belongs to: the meter's dimensions that it names, as text. -#}
{% macro dimension_slice(events, meters) -%}
    case cardinality({{ meters }}.dimensions)
        when 0 then '{}'::jsonb
        when 1 then jsonb_strip_nulls(jsonb_build_object(
            {{ meters }}.dimensions[1], {{ events }}.properties ->> {{ meters }}.dimensions[1]))
        when 2 then jsonb_strip_nulls(jsonb_build_object(
            {{ meters }}.dimensions[1], {{ events }}.properties ->> {{ meters }}.dimensions[1],
            {{ meters }}.dimensions[2], {{ events }}.properties ->> {{ meters }}.dimensions[2]))
        else (
            select coalesce(jsonb_object_agg(dimension, {{ events }}.properties ->> dimension), '{}'::jsonb)
            from unnest({{ meters }}.dimensions) as dimension
            where {{ events }}.properties ->> dimension is not null
        )
    end
{%- endmacro %}

{#- Whether an event passes a meter's filters: for each filtered property its value is one of those listed. -#}
{% macro passes_filters(events, meters) -%}
    (
        {{ meters }}.filters = '{}'::jsonb
        or not exists (
            select 1
            from jsonb_each({{ meters }}.filters) as filters (property, allowed)
            where not coalesce(filters.allowed ? ({{ events }}.properties ->> filters.property), false)
        )
    )
{%- endmacro %}

{#- How many quarter-hours are queued at the moment of the run. -#}
{% macro queued_buckets() -%}
    {%- if execute and is_incremental() -%}
        {{ return(run_query("select count(*) from " ~ source('billing', 'buckets_to_meter')).columns[0].values()[0] | int) }}
    {%- endif -%}
    {{ return(0) }}
{%- endmacro %}
