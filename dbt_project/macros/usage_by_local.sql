{#-
    Usage by a unit of each team's own clock: 'hour', 'day' or 'month'. In an increment, only the queued windows.

    A level (weighted_sum) is its mean over the window, and has a row for every window since it first changed, up to the run's
    horizon. The model that calls this names what it refers to in `depends_on`, since dbt reads the references of a macro only
    when it runs.

    An increment of few windows reads each by its key; one of many reads all usage since the first of them once.
-#}
{% macro usage_by_local(unit) -%}
{%- set at_once = not is_incremental() or queued_buckets() | int > {'hour': 500000, 'day': 50000, 'month': 5000}[unit] -%}
{%- set since %}
        {%- if is_incremental() -%}
        usage_known.bucket_start >= (select min({{ unit }}_start) from windows)
        {%- else -%}
        true
        {%- endif %}
{%- endset -%}
with

usage_known as (
    select * from {{ ref('int_usage_recorded') }}
),

meters as (
    select * from {{ ref('stg_billing__meters') }}
),

teams as (
    select * from {{ ref('stg_billing__teams') }}
),
{%- if is_incremental() %}

windows as (
    select distinct team_id, meter_id, {{ unit }}_start from {{ ref('int_usage_windows_queued') }}
),
{%- endif %}
{%- if at_once %}

-- Of each quarter-hour and zone once: there are few, and a clock takes longer to read than a row.
clock as materialized (
    select
        time_zone,
        bucket_start,
        billing.local_start('{{ unit }}', bucket_start, time_zone) as {{ unit }}_start
    from (
        select distinct
            teams.time_zone,
            usage_known.bucket_start
        from usage_known
        inner join teams on teams.team_id = usage_known.team_id
        where {{ since }}
    ) as quarter_hours
),
{%- endif %}

usage_in_windows as (
    select
        usage_known.*,
        teams.time_zone,
        {%- if at_once %}
        clock.{{ unit }}_start
    from usage_known
    inner join teams on teams.team_id = usage_known.team_id
    inner join clock
        on clock.time_zone = teams.time_zone
        and clock.bucket_start = usage_known.bucket_start
        {%- if is_incremental() %}
    inner join windows
        on windows.team_id = usage_known.team_id
        and windows.meter_id = usage_known.meter_id
        and windows.{{ unit }}_start = clock.{{ unit }}_start
        {%- endif %}
    where {{ since }}
    {%- else %}
        windows.{{ unit }}_start
    from windows
    inner join teams on teams.team_id = windows.team_id
    cross join lateral (
        select *
        from usage_known as inside
        where inside.team_id = windows.team_id
            and inside.meter_id = windows.meter_id
            and inside.bucket_start >= windows.{{ unit }}_start
            and inside.bucket_start < billing.local_end('{{ unit }}', windows.{{ unit }}_start, teams.time_zone)
        offset 0
    ) as usage_known
    {%- endif %}
),

usage_combined as (
    select
        usage_known.team_id,
        usage_known.meter_id,
        meters.aggregation,
        meters.rounding,
        meters.precision,
        usage_known.time_zone,
        usage_known.{{ unit }}_start,
        usage_known.dimensions,
        {{ combined('meters.aggregation', 'usage_known') }} as quantity,
        sum(usage_known.event_count) as event_count,
        max(usage_known.decided_at) as decided_at
    from usage_in_windows as usage_known
    inner join meters on meters.meter_id = usage_known.meter_id
    where meters.aggregation <> 'weighted_sum'
    group by
        1, 2, 3, 4, 5, 6, 7, 8, usage_known.member, {{ bucket_window('usage_known', 'meters', 'usage_known') }}
),

levels as (
    select
        usage_known.team_id,
        usage_known.meter_id,
        usage_known.dimensions,
        teams.time_zone,
        min(usage_known.bucket_start) as since
    from meters
    {%- if is_incremental() %}
    inner join (select distinct team_id, meter_id from windows) as windows on windows.meter_id = meters.meter_id
    inner join usage_known
        on usage_known.team_id = windows.team_id
        and usage_known.meter_id = windows.meter_id
    {%- else %}
    inner join usage_known on usage_known.meter_id = meters.meter_id
    {%- endif %}
    inner join teams on teams.team_id = usage_known.team_id
    where meters.aggregation = 'weighted_sum'
    group by usage_known.team_id, usage_known.meter_id, usage_known.dimensions, teams.time_zone
),

level_windows as (
    select distinct
        levels.*,
        {%- if unit == 'hour' %}
        billing.local_start('hour', moment, levels.time_zone) as window_start,
        billing.local_end('hour', billing.local_start('hour', moment, levels.time_zone), levels.time_zone) as window_end
        {%- else %}
        billing.local_instant(on_clock, levels.time_zone) as window_start,
        billing.local_instant(on_clock + interval '1 {{ unit }}', levels.time_zone) as window_end
        {%- endif %}
    from levels
    cross join (
        select max(recorded_until) as recorded_until from {{ source('billing', 'metering_runs') }}
    ) as horizon
    {%- if unit == 'hour' %}
    cross join lateral generate_series(levels.since, horizon.recorded_until, interval '15 minutes') as moment
    {%- else %}
    cross join lateral generate_series(
        date_trunc('{{ unit }}', levels.since at time zone levels.time_zone),
        horizon.recorded_until at time zone levels.time_zone,
        interval '1 {{ unit }}'
    ) as on_clock
    {%- endif %}
),

usage_levelled as (
    select
        level_windows.team_id,
        level_windows.meter_id,
        level_windows.window_start,
        level_windows.time_zone,
        level_windows.dimensions,
        sum({{ quantity_seconds('usage_known', 'level_windows.window_start', 'level_windows.window_end') }})
        / extract(epoch from level_windows.window_end - level_windows.window_start) as quantity,
        coalesce(sum(usage_known.event_count) filter (where usage_known.bucket_start >= level_windows.window_start), 0) as event_count
    from level_windows
    {%- if is_incremental() %}
    inner join windows
        on windows.team_id = level_windows.team_id
        and windows.meter_id = level_windows.meter_id
        and windows.{{ unit }}_start = level_windows.window_start
    {%- endif %}
    inner join usage_known
        on usage_known.team_id = level_windows.team_id
        and usage_known.meter_id = level_windows.meter_id
        and usage_known.dimensions = level_windows.dimensions
        and usage_known.bucket_start < level_windows.window_end
    group by 1, 2, 3, 4, 5, level_windows.window_end
)

select
    team_id,
    meter_id,
    {{ unit }}_start::timestamptz as {{ unit }}_start,
    ({{ unit }}_start at time zone time_zone)::timestamp as local_{{ unit }},
    dimensions,
    ({{ rounded_quantity(finished('aggregation', 'usage_combined'), 'usage_combined') }})::numeric(38, 12) as quantity,
    sum(event_count)::bigint as event_count
from usage_combined
group by team_id, meter_id, {{ unit }}_start, time_zone, dimensions, aggregation, rounding, precision
union all
select
    usage_levelled.team_id,
    usage_levelled.meter_id,
    usage_levelled.window_start,
    (usage_levelled.window_start at time zone usage_levelled.time_zone)::timestamp,
    usage_levelled.dimensions,
    ({{ rounded_quantity('usage_levelled.quantity', 'meters') }})::numeric(38, 12),
    usage_levelled.event_count::bigint
from usage_levelled
inner join meters on meters.meter_id = usage_levelled.meter_id
{%- endmacro %}
