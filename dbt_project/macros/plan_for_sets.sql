{#-
    Have the planner join whole sets, for the rest of the transaction; with `hash`, group them without sorting them, too.

    Rating joins views over functions and ranges, whose row counts no planner can estimate: it expects one row, nests loops, and
    computes a whole period again for each of them. Hashing is never far from the best here; nesting can be hours from it.
-#}
{% macro plan_for_sets(hash=false) -%}
    set local enable_nestloop = off
    {%- if hash %};
    set local enable_sort = off
    {%- endif %}
{%- endmacro %}
