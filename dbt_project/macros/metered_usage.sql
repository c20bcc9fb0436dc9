{#-
    What the meters count in the quarter-hours of a CTE `queue` (team_id, meter_id, bucket_start), given a CTE `meters`. Metering
    and the reports on what metering has not reached yet share these two macros, so that both count the same.

    `months_at_once` reads all months once instead of each quarter-hour of a team by the events' own key, which its meters share.
    `width`: of other windows. `in_turn`: events are read before they meet their meters, or each meter would read them again; a view that
    is asked for one team can't have it, since a condition does not reach into what stands for itself.
-#}
{% macro metered_events(months_at_once=false, width='15 minutes', in_turn=true) -%}
    select
        queue.team_id,
        queue.meter_id,
        queue.bucket_start,
        {{ dimension_slice('events', 'meters') }} as dimensions,
        {{ meter_member('events', 'meters') }} as member,
        meters.aggregation,
        meters.keeps_events,
        events.occurred_at,
        {{ meter_value('events', 'meters') }} as metered_value,
        case
            when meters.aggregation in ('latest', 'unique_count') then {{ deciding_event('events', 'meters') }}
        end as deciding
    {%- if months_at_once %}
    from {{ ref('stg_landing__usage_events') }} as events
    {%- else %}
    from (
        select
            windows.bucket_start,
            landed.*
        from (select distinct asked.team_id, asked.bucket_start from queue as asked) as windows
        cross join lateral (
            select *
            from {{ ref('stg_landing__usage_events') }} as inside
            where inside.team_id = windows.team_id
                and inside.occurred_at >= windows.bucket_start
                and inside.occurred_at < windows.bucket_start + interval '{{ width }}'
            offset 0
        ) as landed
        {%- if in_turn %}
        offset 0
        {%- endif %}
    ) as events
    {%- endif %}
    -- By the name of the event, too: joined without the meter, each event would meet those of all meters of its quarter-hour.
    inner join (
        select
            asked.team_id,
            asked.meter_id,
            asked.bucket_start,
            counting.event_name
        from queue as asked
        inner join meters as counting on counting.meter_id = asked.meter_id
        {%- if in_turn %}
        offset 0
        {%- endif %}
    ) as queue
        on queue.team_id = events.team_id
        and queue.event_name = events.event_name
        and queue.bucket_start = {{ bucket_of('events.occurred_at') if months_at_once else 'events.bucket_start' }}
    inner join meters on meters.meter_id = queue.meter_id
    {%- if months_at_once %}
    {%- set first, last = queued_bounds() %}
    where events.occurred_at >= '{{ first }}'::timestamptz
        and events.occurred_at < '{{ last }}'::timestamptz + interval '15 minutes'
    {%- else %}
    where true
    {%- endif %}
        and {{ passes_filters('events', 'meters') }}
{%- endmacro %}

{#- What a meter measures of its events, over rows of metered_events: all that its quarter-hours are put together from. -#}
{% macro measured() -%}
    count(*)::bigint as event_count,
    (
        case min(aggregation)
            when 'count' then count(*)
            when 'min' then min(metered_value)
            when 'max' then max(metered_value)
            when 'bucketed_max' then max(metered_value)
            when 'latest' then (max(deciding))[4]::numeric
            when 'unique_count' then (max(deciding))[4]::numeric
            else coalesce(sum(metered_value), 0)
        end
    )::numeric(100, 12) as quantity,
    -- A change of level counts from its instant: change by change times the seconds that had passed of the quarter-hour.
    (sum(metered_value * extract(epoch from occurred_at - bucket_start)) filter (where aggregation = 'weighted_sum'))::numeric(50, 18)
        as passed_quantity_seconds,
    (max(occurred_at) filter (where aggregation in ('latest', 'unique_count') or keeps_events))::timestamptz as decided_at
{%- endmacro %}
