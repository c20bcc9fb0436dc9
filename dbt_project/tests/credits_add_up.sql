{{ config(tags=['finance']) }}
-- What was drawn, what has expired and what is deferred add up to what was granted, and none is below zero.
select *
from {{ ref('fct_credits') }}
where amount <> drawn_by_final_bills + drawn_by_open_bills + expired_amount + deferred_amount
    or least(drawn_by_final_bills, drawn_by_open_bills, expired_amount, deferred_amount) < 0
