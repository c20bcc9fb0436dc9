select
    meter_id,
    meter_key,
    meter_name,
    event_name,
    aggregation,
    value_property,
    unit,
    dimensions,
    filters,
    parameters
from {{ source('billing', 'meters') }}
where created_at <= {{ as_of() }}
