{#- Whether so many quarter-hours are queued that their windows are not looked up one by one. -#}
{% macro many_windows() -%}
    {{ return(queued_buckets() | int > var('many_windows', 500000)) }}
{%- endmacro %}

{#-
    Usage by a unit of each team's own clock: 'hour', 'day' or 'month'. In an increment, only the queued windows.

    A level (weighted_sum) is its mean over the window, and has a row for every window since it first changed, up to the run's
    horizon. The model that calls this names what it refers to in `depends_on`, since dbt reads the references of a macro only
    when it runs.

    Of a meter that adds up, a day is the sum of its hours and a month of its days (`parts`, by `part_unit`): a month of quarter-hours
    would be read again for each late event. Of others, each window is put together from quarter-hours by itself.

    An increment of few windows reads each by its key; one of many reads all usage since the first of them once.
-#}
{% macro usage_by_local(unit, parts=none, part_unit=none) -%}
{%- set at_once = not is_incremental() or many_windows() -%}
{%- set from_quarter_hours = "not meters.is_additive" if parts else "true" -%}
{%- set since_first = " >= (select min(" ~ unit ~ "_start) from windows)" if is_incremental() else " is not null" -%}
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
        inner join meters on meters.meter_id = usage_known.meter_id and {{ from_quarter_hours }}
        where usage_known.bucket_start {{- since_first }}
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
    inner join meters on meters.meter_id = usage_known.meter_id and {{ from_quarter_hours }}
    inner join clock
        on clock.time_zone = teams.time_zone
        and clock.bucket_start = usage_known.bucket_start
        {%- if is_incremental() %}
    inner join windows
        on windows.team_id = usage_known.team_id
        and windows.meter_id = usage_known.meter_id
        and windows.{{ unit }}_start = clock.{{ unit }}_start
        {%- endif %}
    where usage_known.bucket_start {{- since_first }}
    {%- else %}
        windows.{{ unit }}_start
    from windows
    inner join teams on teams.team_id = windows.team_id
    inner join meters on meters.meter_id = windows.meter_id and {{ from_quarter_hours }}
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

{%- if parts %}

usage_added as (
    {%- if at_once %}
    select
        added.team_id,
        added.meter_id,
        teams.time_zone,
        billing.local_instant(added.on_clock, teams.time_zone) as {{ unit }}_start,
        added.dimensions,
        added.quantity,
        added.event_count
    from (
        select
            team_id,
            meter_id,
            date_trunc('{{ unit }}', local_{{ part_unit }}) as on_clock,
            dimensions,
            sum(quantity) as quantity,
            sum(event_count) as event_count
        from {{ parts }}
        where {{ part_unit }}_start {{- since_first }}
        group by 1, 2, 3, 4
    ) as added
    inner join teams on teams.team_id = added.team_id
    inner join meters on meters.meter_id = added.meter_id and meters.is_additive
    {%- else %}
    select
        windows.team_id,
        windows.meter_id,
        teams.time_zone,
        windows.{{ unit }}_start,
        parts.dimensions,
        sum(parts.quantity) as quantity,
        sum(parts.event_count) as event_count
    from windows
    inner join teams on teams.team_id = windows.team_id
    inner join meters on meters.meter_id = windows.meter_id and meters.is_additive
    cross join lateral (
        select *
        from {{ parts }} as inside
        where inside.team_id = windows.team_id
            and inside.meter_id = windows.meter_id
            and inside.{{ part_unit }}_start >= windows.{{ unit }}_start
            and inside.{{ part_unit }}_start < billing.local_end('{{ unit }}', windows.{{ unit }}_start, teams.time_zone)
        offset 0
    ) as parts
    group by 1, 2, 3, 4, 5
    {%- endif %}
),
{%- endif %}

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
    ({{ rounded_quantity(finished('aggregation', 'usage_combined'), 'usage_combined') }})::numeric(100, 12) as quantity,
    sum(event_count)::bigint as event_count
from usage_combined
group by team_id, meter_id, {{ unit }}_start, time_zone, dimensions, aggregation, rounding, precision
{%- if parts %}
union all
select
    usage_added.team_id,
    usage_added.meter_id,
    usage_added.{{ unit }}_start,
    (usage_added.{{ unit }}_start at time zone usage_added.time_zone)::timestamp,
    usage_added.dimensions,
    usage_added.quantity::numeric(100, 12),
    usage_added.event_count::bigint
from usage_added
{%- if at_once and is_incremental() %}
inner join windows
    on windows.team_id = usage_added.team_id
    and windows.meter_id = usage_added.meter_id
    and windows.{{ unit }}_start = usage_added.{{ unit }}_start
{%- endif %}
{%- endif %}
union all
select
    team_id,
    meter_id,
    window_start,
    (window_start at time zone time_zone)::timestamp,
    dimensions,
    ({{ rounded_quantity('usage_levelled.quantity', 'usage_levelled') }})::numeric(100, 12),
    event_count::bigint
from usage_levelled
{%- endmacro %}
