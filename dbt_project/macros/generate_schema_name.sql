{#- Models stand in the schema that their folder names: the same in every environment, each of which is a database of its own. -#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ custom_schema_name or target.schema }}
{%- endmacro %}
