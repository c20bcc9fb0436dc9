-- Bills: periods and what was finalized. Bills that are still open are dbt's marts.

CREATE TABLE billing.billing_periods (
    team_id           integer NOT NULL REFERENCES billing.teams,
    subscription_key  text NOT NULL,
    period_start      timestamptz NOT NULL,
    period_end        timestamptz NOT NULL,
    period_label      text NOT NULL,
    time_zone         text NOT NULL,
    currency          char(3) NOT NULL REFERENCES billing.currencies,
    status            text NOT NULL DEFAULT 'active'
                      CHECK (status IN ('active', 'closing', 'finalized', 'invoiced', 'paid')),
    opened_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    finalized_at      timestamptz,
    stripe_invoice_id text,
    PRIMARY KEY (team_id, subscription_key, period_start),
    CHECK (period_end > period_start),
    CHECK ((status IN ('active', 'closing')) = (finalized_at IS NULL))
);
CREATE INDEX billing_periods_open ON billing.billing_periods (period_end) WHERE finalized_at IS NULL;
COMMENT ON TABLE billing.billing_periods IS
    'Half-open periods [period_start, period_end) of each subscription, in its own zone. period_label is the local date on '
    'which it begins, shortened to the month (2026-10) where it begins on the first.';

CREATE TABLE billing.finalized_bills (
    team_id          integer NOT NULL,
    subscription_key text NOT NULL,
    period_start     timestamptz NOT NULL,
    currency         char(3) NOT NULL,
    total            numeric(38, 12) NOT NULL,
    as_of            timestamptz NOT NULL,
    digest           text NOT NULL,
    finalized_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (team_id, subscription_key, period_start)
);
COMMENT ON TABLE billing.finalized_bills IS
    'Bills as they were when they became final. as_of is the recorded time up to which everything known was used; digest is '
    'the SHA-256 of the lines.';

CREATE TABLE billing.finalized_bill_lines (
    team_id            integer NOT NULL,
    subscription_key   text NOT NULL,
    period_start       timestamptz NOT NULL,
    line_key           text NOT NULL,
    kind               text NOT NULL CHECK (kind IN ('usage', 'adjustment')),
    about_period_start timestamptz NOT NULL,
    meter_id           integer NOT NULL,
    price_version_id   integer NOT NULL,
    quantity           numeric(38, 12) NOT NULL,
    charge_quantity    numeric(38, 12) NOT NULL,
    amount             numeric(38, 12) NOT NULL,
    PRIMARY KEY (team_id, subscription_key, period_start, line_key),
    FOREIGN KEY (team_id, subscription_key, period_start) REFERENCES billing.finalized_bills
);
COMMENT ON TABLE billing.finalized_bill_lines IS
    'The lines of finalized bills. An adjustment stands on the bill of period_start and is about the usage of about_period_start.';
