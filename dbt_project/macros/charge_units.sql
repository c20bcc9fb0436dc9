{#-
    Usage in the units that the price counts: GB-hours become GB-months by the hours of the whole cycle, so that a part of a cycle
    is not dearer by the hour; then whole units, where the price says so.
-#}
{% macro charge_units(measured) -%}
    case {{ measured }}.unit_rounding
        when 'up' then ceil({{ units_converted(measured) }})
        when 'down' then floor({{ units_converted(measured) }})
        when 'round' then round({{ units_converted(measured) }})
        else {{ units_converted(measured) }}
    end
{%- endmacro %}

{% macro units_converted(measured) -%}
    round(
        {{ measured }}.quantity
        / {{ measured }}.unit_divisor
        / case
            when {{ measured }}.per_period_hour
                then extract(epoch from {{ measured }}.cycle_end - {{ measured }}.cycle_start) / 3600
            else 1
        end,
        12
    )
{%- endmacro %}

{#- How many units of its price a quantity owes: the quantity itself, or whole blocks of it. -#}
{% macro billed_units(quantity, block_size, block_rounding) -%}
    case
        when {{ block_size }} is null then {{ quantity }}
        when {{ block_rounding }} = 'down' then div({{ quantity }}, {{ block_size }})
        else div({{ quantity }}, {{ block_size }}) + (mod({{ quantity }}, {{ block_size }}) > 0)::integer
    end
{%- endmacro %}
