{{ config(materialized='view', tags=['deploy']) }}

select
    meter_id,
    meter_key,
    meter_name,
    event_name,
    aggregation,
    unit,
    is_additive
from {{ ref('stg_billing__meters') }}
