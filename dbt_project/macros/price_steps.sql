{#-
    What stands around an amount, step by step, in the order in which the steps are taken: the amount itself, with what is beyond
    the commitment at its own price, trued up to the commitment, less the discount, at least the minimum, at most the maximum.
    `terms` has commitment, overage_factor, is_trued_up, discount_percent, minimum and maximum, prorated; null where there is none.
-#}
{% macro price_steps(amount, beyond, missing, terms) -%}
    {%- set with_overage = amount ~ " + " ~ beyond ~ " * (" ~ terms ~ ".overage_factor - 1)" -%}
    {%- set trued_up = with_overage ~ " + case when " ~ terms ~ ".is_trued_up then " ~ missing ~ " else 0 end" -%}
    {%- set discounted = "(" ~ trued_up ~ ") * (1 - " ~ terms ~ ".discount_percent / 100)" -%}
    array[
        {{ amount }},
        {{ with_overage }},
        {{ trued_up }},
        {{ discounted }},
        greatest({{ discounted }}, {{ terms }}.minimum),
        least(greatest({{ discounted }}, {{ terms }}.minimum), {{ terms }}.maximum)
    ]
{%- endmacro %}

{#- The kinds of lines that the steps make, in their order. -#}
{% macro step_kinds() -%}
    array['usage', 'overage', 'true_up', 'discount', 'minimum', 'maximum']
{%- endmacro %}
