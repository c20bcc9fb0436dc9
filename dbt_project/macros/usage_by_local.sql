{#- Whether so many quarter-hours are queued that their windows are not looked up one by one. -#}
{% macro many_windows() -%}
    {{ return(queued_buckets() | int > var('many_windows', 500000)) }}
{%- endmacro %}

{#-
    Usage by a unit of each team's own clock: 'hour', 'day' or 'month'. In an increment, only the queued windows.

    A level (weighted_sum) is its mean over the window, and has a row for every window since it first changed, up to the run's
    horizon. The model that calls this names what it refers to in `depends_on`, since dbt reads the references of a macro only
    when it runs.

    An increment of few windows reads each by its key; one of many reads all usage since the first of them once.
-#}
{% macro usage_by_local(unit) -%}
{%- set at_once = not is_incremental() or many_windows() -%}
{%- set since %}
        {%- if is_incremental() -%}
        usage_known.bucket_start >= (select min({{ unit }}_start) from windows)
        {%- else -%}
        true
        {%- endif %}
{%- endset -%}
with

-- Not materialized: it is read by key, and more than once.
usage_known as not materialized (
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

-- Of each slice of a level: since when windows of it are made, and what it was before the first of them.
levels as (
    select
        usage_known.team_id,
        usage_known.meter_id,
        usage_known.dimensions,
        meters.rounding,
        meters.precision,
        teams.time_zone,
        {%- if is_incremental() %}
        greatest(billing.local_start('{{ unit }}', min(usage_known.bucket_start), teams.time_zone), queued.since) as since,
        coalesce(sum(usage_known.quantity) filter (where usage_known.bucket_start < queued.since), 0) as quantity
        {%- else %}
        billing.local_start('{{ unit }}', min(usage_known.bucket_start), teams.time_zone) as since,
        0 as quantity
        {%- endif %}
    from meters
    {%- if is_incremental() %}
    inner join (
        select team_id, meter_id, min({{ unit }}_start) as since from windows group by team_id, meter_id
    ) as queued on queued.meter_id = meters.meter_id
    inner join usage_known
        on usage_known.team_id = queued.team_id
        and usage_known.meter_id = queued.meter_id
    {%- else %}
    inner join usage_known on usage_known.meter_id = meters.meter_id
    {%- endif %}
    inner join teams on teams.team_id = usage_known.team_id
    where meters.aggregation = 'weighted_sum'
    group by
        usage_known.team_id, usage_known.meter_id, usage_known.dimensions, meters.rounding, meters.precision, teams.time_zone
        {%- if is_incremental() %}, queued.since{% endif %}
),

level_windows as (
    select distinct
        levels.*,
        {%- if unit == 'hour' %}
        billing.local_start('hour', moment, levels.time_zone) as window_start
        {%- else %}
        billing.local_instant(on_clock, levels.time_zone) as window_start
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

-- Changes within a window, each also times the seconds of the window that had passed before it.
level_changes as (
    select
        levels.team_id,
        levels.meter_id,
        levels.dimensions,
        billing.local_start('{{ unit }}', usage_known.bucket_start, levels.time_zone) as window_start,
        sum(usage_known.quantity) as quantity,
        sum(
            usage_known.quantity * extract(
                epoch from usage_known.bucket_start
                - billing.local_start('{{ unit }}', usage_known.bucket_start, levels.time_zone)
            ) + usage_known.passed_quantity_seconds
        ) as passed_quantity_seconds,
        sum(usage_known.event_count) as event_count
    from levels
    inner join usage_known
        on usage_known.team_id = levels.team_id
        and usage_known.meter_id = levels.meter_id
        and usage_known.dimensions = levels.dimensions
        and usage_known.bucket_start >= levels.since
    group by levels.team_id, levels.meter_id, levels.dimensions, window_start
),

usage_levelled as (
    select
        level_windows.team_id,
        level_windows.meter_id,
        level_windows.window_start,
        level_windows.time_zone,
        level_windows.dimensions,
        level_windows.rounding,
        level_windows.precision,
        level_windows.quantity
        + coalesce(sum(level_changes.quantity) over (
            partition by level_windows.team_id, level_windows.meter_id, level_windows.dimensions
            order by level_windows.window_start
            rows unbounded preceding
        ), 0)
        - coalesce(level_changes.passed_quantity_seconds, 0) / extract(
            epoch from billing.local_end('{{ unit }}', level_windows.window_start, level_windows.time_zone)
            - level_windows.window_start
        ) as quantity,
        coalesce(level_changes.event_count, 0) as event_count
    from level_windows
    left join level_changes
        on level_changes.team_id = level_windows.team_id
        and level_changes.meter_id = level_windows.meter_id
        and level_changes.dimensions = level_windows.dimensions
        and level_changes.window_start = level_windows.window_start
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
    team_id,
    meter_id,
    window_start,
    (window_start at time zone time_zone)::timestamp,
    dimensions,
    ({{ rounded_quantity('usage_levelled.quantity', 'usage_levelled') }})::numeric(38, 12),
    event_count::bigint
from usage_levelled
{%- endmacro %}
