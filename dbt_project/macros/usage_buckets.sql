{#- Quarter-hours feed the local hours and days of every zone: each offset in use today is a multiple of 15 minutes. -#}
{% macro bucket_of(moment) -%}
    date_bin('15 minutes', {{ moment }}, '2000-01-01Z')
{%- endmacro %}

{#-
    What a meter counts of one event is at most this, so that no sum of them outgrows the 88 digits that sums have. Landing asks for
    it too: `MOST` in metering.ingestion.events.
-#}
{% macro most_of_an_event() -%}
    100000000000000000000
{%- endmacro %}

{#-
    The number that a meter takes from an event; none for those that only tell events or values apart. None either where the
    property is no number, or too large: landing asks that of the meters there are, so the event came before this meter. The gate on
    arrivals holds its team; it must not stop all others from being metered.
-#}
{% macro meter_value(events, meters) -%}
    case
        when {{ meters }}.aggregation in ('count', 'unique_count') then null
        when {{ meters }}.value_property is null
            then case
                when abs({{ events }}.quantity * {{ meters }}.multiplier) <= {{ most_of_an_event() }}
                    then {{ events }}.quantity * {{ meters }}.multiplier
            end
        when {{ events }}.properties ->> {{ meters }}.value_property
            ~ '^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]{1,3})?$'
            then case
                when abs(({{ events }}.properties ->> {{ meters }}.value_property)::numeric * {{ meters }}.multiplier)
                        <= {{ most_of_an_event() }}
                    then ({{ events }}.properties ->> {{ meters }}.value_property)::numeric * {{ meters }}.multiplier
            end
    end
{%- endmacro %}

{#-
    The value that a unique count tells apart, as text; the event itself where each is kept apart, so that a price may treat each
    by itself; empty for other meters, which have one row a slice.
-#}
{% macro meter_member(events, meters) -%}
    case
        when {{ meters }}.aggregation = 'unique_count'
            then coalesce({{ events }}.properties ->> {{ meters }}.value_property, '')
        when {{ meters }}.keeps_events then {{ events }}.key_digest::text
        else ''
    end
{%- endmacro %}

{#-
    What decides where the last event does (`latest`, and whether a member of a `unique_count` has been removed): the texts sort as
    the events follow one another. At the same instant the one recorded last wins, then the higher key, so that any order of
    arrival and any second run decide alike. The fourth text is what it says.
-#}
{% macro deciding_event(events, meters) -%}
    array[
        {{ sortable_moment(events ~ '.occurred_at') }},
        {{ sortable_moment(events ~ '.recorded_at') }},
        {{ events }}.key_digest::text collate "C",
        case
            when {{ meters }}.aggregation = 'latest' then ({{ meter_value(events, meters) }})::text
            when {{ events }}.properties ->> {{ meters }}.operation_property = 'remove' then '0'
            else '1'
        end collate "C"
    ]
{%- endmacro %}

{% macro sortable_moment(moment) -%}
    to_char({{ moment }} at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') collate "C"
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

{#-
    Whether there are so many that the months are read at once, and not each quarter-hour of a team by the events' own key: that takes
    some 30 millionths of a second, as long as to read a dozen events.
-#}
{% macro many_buckets() -%}
    {%- if execute and is_incremental() -%}
        {%- set found = run_query(
            "select count(*) from (select distinct team_id, bucket_start from " ~ source('billing', 'buckets_to_meter') ~ ") as asked"
        ).columns[0].values()[0] -%}
        {{ return(found | int > var('many_buckets', 100000)) }}
    {%- endif -%}
    {{ return(false) }}
{%- endmacro %}

{#- The first and the last of them, as text: what a planner can know of their range, it must be told. -#}
{% macro queued_bounds() -%}
    {%- if execute -%}
        {%- set found = run_query(
            "select min(bucket_start)::text, max(bucket_start)::text from " ~ source('billing', 'buckets_to_meter')
        ).rows[0] -%}
        {{ return((found[0], found[1])) }}
    {%- endif -%}
    {{ return(('-infinity', 'infinity')) }}
{%- endmacro %}

{#- The quarter-hour of the week on a clock: 0 is Monday from 00:00 to 00:15, 671 Sunday from 23:45. -#}
{% macro quarter_of_week(moment, time_zone) -%}
    (
        (extract(isodow from {{ moment }} at time zone {{ time_zone }})::integer - 1) * 96
        + extract(hour from {{ moment }} at time zone {{ time_zone }})::integer * 4
        + extract(minute from {{ moment }} at time zone {{ time_zone }})::integer / 15
    )
{%- endmacro %}
