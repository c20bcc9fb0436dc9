{#-
    What cannot be added up is never summed over windows. Quarter-hours are put together in two steps, by the meter's aggregation:

    1. `combined`: within one member (of a unique count) and one bucket (of a bucketed meter): the extreme, the last, or the sum.
    2. `finished`: over members and buckets: members present are counted, maxima of buckets summed, an average divided by its events.

    For meters that add up, both are plain sums, and the first leaves one row a slice.
-#}
{% macro combined(aggregation, rows) -%}
    case {{ aggregation }}
        when 'min' then min({{ rows }}.quantity)
        when 'max' then max({{ rows }}.quantity)
        when 'bucketed_max' then max({{ rows }}.quantity)
        when 'latest' then {{ last_quantity(rows) }}
        when 'unique_count' then {{ last_quantity(rows) }}
        else sum({{ rows }}.quantity)
    end
{%- endmacro %}

{% macro finished(aggregation, rows) -%}
    case {{ aggregation }}
        when 'min' then min({{ rows }}.quantity)
        when 'max' then max({{ rows }}.quantity)
        when 'latest' then {{ last_quantity(rows) }}
        when 'average' then sum({{ rows }}.quantity) / nullif(sum({{ rows }}.event_count), 0)
        else sum({{ rows }}.quantity)
    end
{%- endmacro %}

{#- The quantity that was decided last; of two at the same instant the larger. -#}
{% macro last_quantity(rows) -%}
    (max(array[extract(epoch from {{ rows }}.decided_at), {{ rows }}.quantity]) filter (where {{ rows }}.decided_at is not null))[2]
{%- endmacro %}

{#- Of a bucketed meter, the hour or day of the team's clock that a quarter-hour lies in; none for other meters. -#}
{% macro bucket_window(usage, meters, teams) -%}
    case
        when {{ meters }}.aggregation = 'bucketed_max'
            then billing.local_start({{ meters }}.bucket_unit, {{ usage }}.bucket_start, {{ teams }}.time_zone)
    end
{%- endmacro %}

{#-
    Quantity-seconds that one quarter-hour adds to [from, until): a change counts from its instant to the end, and one that came
    before counts for the whole of it, so that a level is carried from period to period.
-#}
{% macro quantity_seconds(usage, from, until) -%}
    case
        when {{ usage }}.bucket_start >= {{ from }} then
            {{ usage }}.quantity * extract(epoch from {{ until }} - {{ usage }}.bucket_start) - {{ usage }}.passed_quantity_seconds
        else {{ usage }}.quantity * extract(epoch from {{ until }} - {{ from }})
    end
{%- endmacro %}

{#- A measured quantity by its meter's rounding rule; at most 12 digits after the point. Halves are rounded away from zero. -#}
{% macro rounded_quantity(quantity, meters) -%}
    case {{ meters }}.rounding
        when 'up' then ceil(({{ quantity }}) * power(10::numeric, {{ meters }}.precision)) / power(10::numeric, {{ meters }}.precision)
        when 'down' then floor(({{ quantity }}) * power(10::numeric, {{ meters }}.precision)) / power(10::numeric, {{ meters }}.precision)
        when 'round' then round({{ quantity }}, {{ meters }}.precision)
        else round({{ quantity }}, 12)
    end
{%- endmacro %}
