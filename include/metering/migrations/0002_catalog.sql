-- Catalog: who may use what at which price. Versions carry when they take effect and when we recorded them.

CREATE SCHEMA billing;
COMMENT ON SCHEMA billing IS 'Teams, meters, prices, subscriptions, runs, bills as finalized, the submission ledger and alerts.';

CREATE TABLE billing.currencies (
    currency char(3) PRIMARY KEY,
    exponent smallint NOT NULL CHECK (exponent BETWEEN 0 AND 4)
);
COMMENT ON TABLE billing.currencies IS 'ISO 4217 currencies; exponent is the number of decimals of the minor unit.';
INSERT INTO billing.currencies (currency, exponent) VALUES
    ('AED', 2), ('AUD', 2), ('BGN', 2), ('BHD', 3), ('BRL', 2), ('CAD', 2), ('CHF', 2), ('CLP', 0), ('CNY', 2), ('COP', 2),
    ('CZK', 2), ('DKK', 2), ('EGP', 2), ('EUR', 2), ('GBP', 2), ('HKD', 2), ('HUF', 2), ('IDR', 2), ('ILS', 2), ('INR', 2),
    ('ISK', 0), ('JOD', 3), ('JPY', 0), ('KES', 2), ('KRW', 0), ('KWD', 3), ('MAD', 2), ('MXN', 2), ('MYR', 2), ('NGN', 2),
    ('NOK', 2), ('NPR', 2), ('NZD', 2), ('OMR', 3), ('PEN', 2), ('PHP', 2), ('PKR', 2), ('PLN', 2), ('PYG', 0), ('QAR', 2),
    ('RON', 2), ('RSD', 2), ('SAR', 2), ('SEK', 2), ('SGD', 2), ('THB', 2), ('TND', 3), ('TRY', 2), ('TWD', 2), ('UAH', 2),
    ('UGX', 0), ('USD', 2), ('VND', 0), ('XAF', 0), ('XOF', 0), ('ZAR', 2);

CREATE TABLE billing.teams (
    team_id    integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    team_key   text NOT NULL UNIQUE CHECK (team_key <> ''),
    team_name  text NOT NULL,
    time_zone  text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE billing.teams IS 'Who is billed. Team days and months are those of time_zone (an IANA name).';

CREATE TABLE billing.api_keys (
    key_digest bytea PRIMARY KEY,
    key_hint   text NOT NULL,
    team_id    integer REFERENCES billing.teams,
    scopes     text[] NOT NULL CHECK (scopes <@ ARRAY['track', 'read', 'admin']),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    revoked_at timestamptz
);
COMMENT ON TABLE billing.api_keys IS
    'API keys by the SHA-256 of the key (keys are random, 256 bits, so a fast hash is enough). No team: any team.';

CREATE TABLE billing.meters (
    meter_id       integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    meter_key      text NOT NULL UNIQUE,
    meter_name     text NOT NULL,
    event_name     text NOT NULL,
    aggregation    text NOT NULL CHECK (aggregation IN (
        'count', 'sum', 'min', 'max', 'average', 'latest', 'unique_count', 'weighted_sum', 'bucketed_max', 'bucketed_sum')),
    value_property text,
    unit           text NOT NULL,
    dimensions     text[] NOT NULL DEFAULT '{}',
    filters        jsonb NOT NULL DEFAULT '{}',
    parameters     jsonb NOT NULL DEFAULT '{}',
    allow_negative boolean NOT NULL DEFAULT false,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX meters_event_name ON billing.meters (event_name);
COMMENT ON TABLE billing.meters IS 'What is measured: which events, how they are aggregated, by which properties usage is told apart.';
COMMENT ON COLUMN billing.meters.value_property IS 'The property that holds the value; null: the event''s quantity.';
COMMENT ON COLUMN billing.meters.filters IS 'Property to the list of values that count; empty: every event of that name.';

CREATE TABLE billing.plans (
    plan_id   integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    plan_key  text NOT NULL UNIQUE,
    plan_name text NOT NULL
);

CREATE TABLE billing.prices (
    price_id   integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    price_key  text NOT NULL UNIQUE CHECK (price_key ~ '^[^[:space:]@]+$'),
    price_name text NOT NULL,
    plan_id    integer NOT NULL REFERENCES billing.plans,
    meter_id   integer NOT NULL REFERENCES billing.meters,
    currency   char(3) NOT NULL REFERENCES billing.currencies,
    match      jsonb NOT NULL DEFAULT '{}',
    UNIQUE (plan_id, meter_id, currency, match)
);
COMMENT ON COLUMN billing.prices.match IS
    'The dimension values that this price is for. Usage takes the price that names most of its dimensions.';

CREATE TABLE billing.price_versions (
    price_version_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    price_id         integer NOT NULL REFERENCES billing.prices,
    effective_from   timestamptz NOT NULL CHECK (date_bin('15 minutes', effective_from, '2000-01-01Z') = effective_from),
    recorded_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    model            text NOT NULL CHECK (model IN (
        'flat', 'per_unit', 'graduated', 'volume', 'package', 'percentage', 'graduated_percentage', 'dynamic')),
    charge_unit      text NOT NULL,
    unit_divisor     numeric(38, 12) NOT NULL DEFAULT 1 CHECK (unit_divisor > 0),
    per_period_hour  boolean NOT NULL DEFAULT false,
    charge_zero_flat boolean NOT NULL DEFAULT true,
    carry_tiers      boolean NOT NULL DEFAULT false,
    parameters       jsonb NOT NULL DEFAULT '{}',
    UNIQUE (price_id, effective_from, recorded_at)
);
COMMENT ON TABLE billing.price_versions IS
    'A price from effective_from until its next version. Never updated: another version with a later recorded_at and the '
    'same effective_from replaces it, and what was known before can still be asked for.';
COMMENT ON COLUMN billing.price_versions.charge_unit IS 'The unit that tiers count, such as GB-month.';
COMMENT ON COLUMN billing.price_versions.unit_divisor IS 'How many of the meter''s units make one charge unit.';
COMMENT ON COLUMN billing.price_versions.per_period_hour IS
    'Divide by the hours of the billing period also (743 in a month that loses one): GB-hours become GB-months.';
COMMENT ON COLUMN billing.price_versions.charge_zero_flat IS 'Whether zero usage owes the first tier''s flat amount.';

CREATE TABLE billing.price_tiers (
    price_version_id integer NOT NULL REFERENCES billing.price_versions,
    tier             smallint NOT NULL CHECK (tier > 0),
    over             numeric(38, 12) NOT NULL CHECK (over >= 0),
    up_to            numeric(38, 12),
    unit_amount      numeric(38, 12) NOT NULL DEFAULT 0,
    flat_amount      numeric(38, 12) NOT NULL DEFAULT 0,
    PRIMARY KEY (price_version_id, tier),
    CHECK (up_to IS NULL OR up_to > over)
);
COMMENT ON TABLE billing.price_tiers IS
    'Continuous tiers: over `over`, up to and including `up_to` (null: without end). Amounts in the currency''s major unit.';

CREATE TABLE billing.subscriptions (
    team_id          integer NOT NULL REFERENCES billing.teams,
    subscription_key text NOT NULL DEFAULT 'main',
    recorded_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    currency         char(3) NOT NULL REFERENCES billing.currencies,
    time_zone        text NOT NULL,
    anchor_day       smallint NOT NULL DEFAULT 1 CHECK (anchor_day BETWEEN 1 AND 31),
    starts_at        timestamptz NOT NULL CHECK (date_bin('15 minutes', starts_at, '2000-01-01Z') = starts_at),
    ends_at          timestamptz CHECK (date_bin('15 minutes', ends_at, '2000-01-01Z') = ends_at),
    PRIMARY KEY (team_id, subscription_key, recorded_at),
    CHECK (ends_at IS NULL OR ends_at > starts_at)
);
COMMENT ON TABLE billing.subscriptions IS
    'Versions of what ties a team to its bills: currency, zone and day of the month on which periods begin. The version '
    'with the latest recorded_at counts.';

CREATE TABLE billing.subscription_plans (
    team_id          integer NOT NULL REFERENCES billing.teams,
    subscription_key text NOT NULL DEFAULT 'main',
    effective_from   timestamptz NOT NULL CHECK (date_bin('15 minutes', effective_from, '2000-01-01Z') = effective_from),
    recorded_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    plan_id          integer NOT NULL REFERENCES billing.plans,
    PRIMARY KEY (team_id, subscription_key, effective_from, recorded_at)
);
COMMENT ON TABLE billing.subscription_plans IS 'Which plan a subscription is on, from effective_from until the next row.';
