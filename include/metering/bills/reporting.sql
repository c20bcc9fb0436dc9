-- Statements of metering.bills.reporting: what a bill is worth in the currency of reports.

-- name: exponent
-- The decimals of a currency's minor unit.
SELECT exponent FROM billing.currencies WHERE currency = %(reporting)s;

-- name: rates
-- The rate by which lines of a period are converted, as reports of a moment do it (fct_revenue): at the earlier moment first, and then
-- at each instant up to the later one at which it may have become another. Rates are the last ones at or before the end of the period,
-- or the moment while it runs, of what was recorded by then; one that is older than a week is none.
WITH quoted AS (
    SELECT * FROM billing.exchange_rates
    WHERE currency IN (%(currency)s, %(reporting)s) AND recorded_at <= %(until)s
        AND quoted_at <= %(period_end)s AND quoted_at > least(%(period_end)s, %(since)s) - interval '7 days'
),
moments AS (
    SELECT %(since)s::timestamptz AS moment
    UNION SELECT recorded_at FROM quoted
    UNION SELECT quoted_at FROM quoted
    UNION SELECT quoted_at + interval '7 days' FROM quoted WHERE quoted_at + interval '7 days' <= %(period_end)s
    UNION SELECT %(period_end)s::timestamptz
),
found AS (
    SELECT
        moments.moment, original.per_euro AS original_per_euro, reporting.per_euro AS reporting_per_euro,
        least(original.quoted_at, reporting.quoted_at) AS quoted_at,
        concat_ws(', ', original.source, CASE WHEN reporting.source <> original.source THEN reporting.source END) AS source
    FROM moments
    LEFT JOIN LATERAL (
        SELECT per_euro, quoted_at, source FROM quoted
        WHERE quoted.currency = %(currency)s AND quoted.recorded_at <= moments.moment
            AND quoted.quoted_at <= least(%(period_end)s, moments.moment)
            AND quoted.quoted_at > least(%(period_end)s, moments.moment) - interval '7 days'
        ORDER BY quoted.quoted_at DESC, quoted.recorded_at DESC
        LIMIT 1
    ) AS original_quoted ON true
    LEFT JOIN LATERAL (
        SELECT per_euro, quoted_at, source FROM quoted
        WHERE quoted.currency = %(reporting)s AND quoted.recorded_at <= moments.moment
            AND quoted.quoted_at <= least(%(period_end)s, moments.moment)
            AND quoted.quoted_at > least(%(period_end)s, moments.moment) - interval '7 days'
        ORDER BY quoted.quoted_at DESC, quoted.recorded_at DESC
        LIMIT 1
    ) AS reporting_quoted ON true
    -- The euro is worth one of itself.
    CROSS JOIN LATERAL (
        SELECT CASE WHEN %(currency)s = 'EUR' THEN 1 ELSE original_quoted.per_euro END AS per_euro,
            original_quoted.quoted_at, original_quoted.source
    ) AS original
    CROSS JOIN LATERAL (
        SELECT CASE WHEN %(reporting)s = 'EUR' THEN 1 ELSE reporting_quoted.per_euro END AS per_euro,
            reporting_quoted.quoted_at, reporting_quoted.source
    ) AS reporting
    WHERE moments.moment BETWEEN %(since)s AND %(until)s
)
SELECT
    moment,
    CASE
        WHEN %(currency)s = %(reporting)s THEN 1
        ELSE round(reporting_per_euro / original_per_euro, 18)
    END AS rate,
    quoted_at, nullif(source, '') AS source
FROM found
ORDER BY moment;
