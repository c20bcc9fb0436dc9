{#-
    Have the planner join whole sets, for the rest of the transaction.

    Rating joins views over functions and ranges, whose row counts no planner can estimate: it expects one row, nests loops, and
    computes a whole period again for each of them. Hashing is never far from the best here; nesting can be hours from it.
-#}
{% macro plan_for_sets() -%}
    set local enable_nestloop = off
{%- endmacro %}
