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
    -- Every value times this, before it is aggregated.
    coalesce((parameters ->> 'multiplier')::numeric, 1) as multiplier,
    -- Of a unique count: the property that says whether an event adds its value or removes it.
    parameters ->> 'operation_property' as operation_property,
    -- Of a bucketed meter: the unit of the team's clock, hour or day, of which each counts by itself.
    parameters ->> 'bucket' as bucket_unit,
    -- How the measured quantity is rounded (round, up, down), and to how many digits after the point, negative for before it.
    parameters ->> 'rounding' as rounding,
    (parameters ->> 'precision')::integer as precision,
    -- Whether each event stays a row of its own, so that a price may treat each by itself.
    coalesce((parameters ->> 'keep_events')::boolean, false) as keeps_events,
    -- Whether usage of two windows adds up to the usage of both. What is rounded in each does not.
    aggregation in ('count', 'sum', 'bucketed_sum') and parameters ->> 'rounding' is null as is_additive
from {{ source('billing', 'meters') }}
where created_at <= {{ as_of() }}
