-- Exchange rates, for reports in one currency. Bills stay in their own.

CREATE TABLE billing.exchange_rates (
    currency    char(3) NOT NULL REFERENCES billing.currencies,
    quoted_at   timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    per_euro    numeric(38, 12) NOT NULL CHECK (per_euro > 0),
    source      text NOT NULL CHECK (source <> ''),
    PRIMARY KEY (currency, quoted_at, recorded_at)
);
COMMENT ON TABLE billing.exchange_rates IS
    'How many units of a currency one euro was worth, by whom and when. Never updated: a rate that was wrong is another row with '
    'the same quoted_at and a later recorded_at. Rates between two other currencies go by way of the euro.';
COMMENT ON COLUMN billing.exchange_rates.quoted_at IS
    'When the rate was published. The ECB publishes the rates of a day at 16:00 in Frankfurt.';
