-- Statements of metering.rates: exchange rates are added, never changed.

-- name: take_turn
-- Two who load at the same moment take turns, or both would find the same rate missing.
SELECT pg_advisory_xact_lock(7011);

-- name: record_now
-- The moment at which the rates of this transaction are recorded.
SELECT landing.record_now() AS now;

-- name: make_said
-- What a file says, while it is loaded.
CREATE TEMPORARY TABLE rates_said (currency text, quoted_at timestamptz, per_euro numeric) ON COMMIT DROP;

-- name: copy_said
-- What a file says.
COPY rates_said (currency, quoted_at, per_euro) FROM STDIN;

-- name: add_rates
-- The rates that are not known, or are known with another number, of currencies that bills can be in.
WITH known AS (
    SELECT DISTINCT ON (currency, quoted_at) currency, quoted_at, per_euro
    FROM billing.exchange_rates
    ORDER BY currency, quoted_at, recorded_at DESC
),
added AS (
    INSERT INTO billing.exchange_rates (currency, quoted_at, recorded_at, per_euro, source)
    SELECT said.currency, said.quoted_at, %(now)s, said.per_euro, %(source)s
    FROM rates_said AS said
    JOIN billing.currencies AS currencies ON currencies.currency = said.currency
    LEFT JOIN known ON known.currency = said.currency AND known.quoted_at = said.quoted_at
    WHERE known.per_euro IS DISTINCT FROM said.per_euro
    RETURNING currency, quoted_at
)
SELECT
    count(*) AS added,
    count(*) FILTER (WHERE EXISTS (
        SELECT FROM known WHERE known.currency = added.currency AND known.quoted_at = added.quoted_at)) AS corrected
FROM added;

-- name: unknown_currencies
-- Currencies of the file that no bill can be in.
SELECT DISTINCT said.currency FROM rates_said AS said
WHERE NOT EXISTS (SELECT FROM billing.currencies AS known WHERE known.currency = said.currency)
ORDER BY 1;

-- name: latest
-- The latest rate of each currency.
SELECT DISTINCT ON (currency) currency::text AS currency, trim_scale(per_euro) AS per_euro, quoted_at, source, recorded_at
FROM billing.exchange_rates
WHERE quoted_at <= coalesce(%(at)s::timestamptz, 'infinity')
ORDER BY currency, quoted_at DESC, recorded_at DESC;
