{{ config(tags=['finance'], severity='warn') }}
-- Usage that no bill holds. The gate holds the team concerned; here it is named.
select * from {{ ref('int_usage_unpriced') }}
