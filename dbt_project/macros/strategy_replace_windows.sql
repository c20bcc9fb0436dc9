{#-
    Incremental strategy `replace_windows`: delete the queued windows, insert them afresh, in one transaction.

    A merge or a delete by the new rows' keys keeps rows that no event supports any more, which is over-billing. The model names,
    in its meta, the relation that holds the windows (`windows`) and the columns that both share (`window_columns`): a list, or, where
    the windows call them otherwise, what they are called there; and, where not all of a window is replaced, which rows of it
    (`replaced`, about `windows` and `stale`).
-#}
{% macro get_incremental_replace_windows_sql(arg_dict) %}
    {%- set target = arg_dict["target_relation"] -%}
    {%- set columns = arg_dict["dest_columns"] | map(attribute="quoted") | join(", ") -%}
    {%- set meta = config.get("meta") -%}
    {%- set names = meta["window_columns"] -%}

    delete from {{ target }} as stale
    where exists (
        select 1
        from {{ meta["windows"] }} as windows
        where {% for column in meta["window_columns"] -%}
            windows.{{ names[column] if names is mapping else column }} = stale.{{ column }}{% if not loop.last %} and {% endif %}
        {%- endfor %}
            {%- if meta["replaced"] %} and ({{ meta["replaced"] }}){% endif %}
    );

    insert into {{ target }} ({{ columns }})
    select {{ columns }} from {{ arg_dict["temp_relation"] }}
{% endmacro %}
