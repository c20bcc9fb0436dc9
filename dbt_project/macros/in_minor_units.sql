{#- An amount that has been rounded to its currency's minor unit, with as many decimals as that has: 414.63, and 26051 of yen. -#}
{% macro in_minor_units(amount, currencies) -%}
    round({{ amount }}, {{ currencies }}.exponent)::numeric
{%- endmacro %}
