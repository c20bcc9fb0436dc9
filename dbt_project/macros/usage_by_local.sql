{#-
    Usage by a unit of each team's own clock: 'hour', 'day' or 'month'. In an increment, only the queued windows.

    The model that calls it names what it refers to in `depends_on`, since dbt reads the references of a macro only when it runs.
-#}
{% macro usage_by_local(unit) -%}
with

usage_known as (
    select * from {{ ref('int_usage_recorded') }}
),

teams as (
    select * from {{ ref('stg_billing__teams') }}
)
{%- if is_incremental() %},

windows as (
    select distinct team_id, meter_id, {{ unit }}_start from {{ ref('int_usage_windows_queued') }}
)
{%- endif %}

select
    usage_known.team_id,
    usage_known.meter_id,
    date_trunc('{{ unit }}', usage_known.bucket_start, teams.time_zone)::timestamptz as {{ unit }}_start,
    date_trunc('{{ unit }}', usage_known.bucket_start at time zone teams.time_zone)::timestamp as local_{{ unit }},
    usage_known.dimensions,
    sum(usage_known.quantity)::numeric(38, 12) as quantity,
    sum(usage_known.event_count)::bigint as event_count
from usage_known
inner join teams on teams.team_id = usage_known.team_id
{%- if is_incremental() %}
inner join windows
    on windows.team_id = usage_known.team_id
    and windows.meter_id = usage_known.meter_id
    and windows.{{ unit }}_start = date_trunc('{{ unit }}', usage_known.bucket_start, teams.time_zone)
{%- endif %}
group by 1, 2, 3, 4, 5
{%- endmacro %}
