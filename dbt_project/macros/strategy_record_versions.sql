{#-
    Incremental strategy `record_versions`, for tables whose rows are versions in recorded time.

    The new rows are the whole truth about the queued windows. A current version that it no longer supports is closed at the
    run's horizon, and what is new or different is added from then on; what is the same stays as it is. So running again
    changes nothing, no row is left that no event supports, and what was known before can still be read.
-#}
{% macro get_incremental_record_versions_sql(arg_dict) %}
    {%- set target = arg_dict["target_relation"] -%}
    {%- set fresh = arg_dict["temp_relation"] -%}
    {%- set columns = arg_dict["dest_columns"] | map(attribute="quoted") | join(", ") -%}

    -- The rows were made just now: who joins them with a large table has to know how many they are.
    analyze {{ fresh }};

    update {{ target }} as current_version
    set recorded_to = (select max(recorded_until) from {{ source("billing", "metering_runs") }})
    from {{ source("billing", "buckets_to_meter") }} as queue
    where current_version.team_id = queue.team_id
        and current_version.meter_id = queue.meter_id
        and current_version.bucket_start = queue.bucket_start
        and current_version.recorded_to = 'infinity'
        and not exists (
            select 1
            from {{ fresh }} as fresh
            where fresh.team_id = current_version.team_id
                and fresh.meter_id = current_version.meter_id
                and fresh.bucket_start = current_version.bucket_start
                and fresh.dimensions = current_version.dimensions
                and fresh.member = current_version.member
                and fresh.event_count = current_version.event_count
                and fresh.quantity = current_version.quantity
                and fresh.passed_quantity_seconds is not distinct from current_version.passed_quantity_seconds
                and fresh.decided_at is not distinct from current_version.decided_at
        );

    {% if not many_buckets() -%}
    -- By its key: a scan of a table that is small as yet would be repeated for each row, and this very statement makes it large.
    set local enable_seqscan = off;
    {%- endif %}

    insert into {{ target }} ({{ columns }})
    select {{ columns }}
    from {{ fresh }} as fresh
    where not exists (
        select 1
        from {{ target }} as current_version
        where current_version.team_id = fresh.team_id
            and current_version.meter_id = fresh.meter_id
            and current_version.bucket_start = fresh.bucket_start
            and current_version.dimensions = fresh.dimensions
            and current_version.member = fresh.member
            and current_version.recorded_to = 'infinity'
    )
{% endmacro %}
