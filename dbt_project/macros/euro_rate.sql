{#-
    The last rate of a currency against the euro at or before a moment, of what was recorded as of the session's moment: at most
    one row. Rates are published on working days; one that is older than a week is none.
-#}
{% macro euro_rate(currency, moment) -%}
    (
        select exchange_rates.per_euro, exchange_rates.quoted_at, exchange_rates.source
        from {{ source('billing', 'exchange_rates') }} as exchange_rates
        where exchange_rates.currency = {{ currency }}
            and exchange_rates.quoted_at <= {{ moment }}
            and exchange_rates.quoted_at > {{ moment }} - interval '7 days'
            and exchange_rates.recorded_at <= {{ as_of() }}
        order by exchange_rates.quoted_at desc, exchange_rates.recorded_at desc
        limit 1
    )
    union all
    select 1, null, null
    where {{ currency }} = 'EUR'
{%- endmacro %}
