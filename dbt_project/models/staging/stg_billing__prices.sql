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
    (select count(*) from jsonb_object_keys(prices.match)) as matched_dimensions
from prices
inner join plans on plans.plan_id = prices.plan_id
