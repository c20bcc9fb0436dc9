with

prices as (
    select * from {{ source('billing', 'prices') }}
),

plans as (
    select * from {{ source('billing', 'plans') }}
)

select
    prices.price_id,
    prices.price_key,
    prices.price_name,
    prices.plan_id,
    plans.plan_key,
    prices.meter_id,
    prices.currency,
    prices.match,
    -- Hours count as one more dimension that a price can name.
    (select count(*) from jsonb_object_keys(prices.match)) + (prices.hours is not null)::integer as matched_dimensions,
    prices.hours
from prices
inner join plans on plans.plan_id = prices.plan_id
