-- The marts of bills as dbt had built them before prices in full, with a bill of one line in two tiers; and usage of days in Cairo,
-- where a day was a second time what it had been the hour before.
CREATE SCHEMA marts;
CREATE SCHEMA staging;
CREATE TABLE marts.fct_rated_usage (
    team_id integer NOT NULL, subscription_key text NOT NULL, period_start timestamptz NOT NULL, period_label text,
    line_key text NOT NULL, meter_id integer, price_version_id integer, segment_from timestamptz, segment_until timestamptz,
    tier smallint NOT NULL, over numeric(38, 12), up_to numeric(38, 12), currency text, charge_unit text,
    tier_quantity numeric(38, 12), unit_amount numeric(38, 12), usage_amount numeric(60, 24), fixed_amount numeric(60, 24));
CREATE UNIQUE INDEX "0123456789abcdef0123456789abcdef"
    ON marts.fct_rated_usage (team_id, subscription_key, period_start, line_key, tier);
CREATE TABLE marts.fct_bill_lines (
    team_id integer NOT NULL, team_key text, subscription_key text NOT NULL, period_start timestamptz NOT NULL,
    period_end timestamptz, period_label text, line_key text NOT NULL, kind text, about_period_start timestamptz,
    meter_id integer, meter_key text, price_version_id integer, price_key text, price_name text, dimensions jsonb,
    quantity numeric(38, 12), unit text, charge_quantity numeric(38, 12), charge_unit text, currency text,
    amount numeric(38, 12));
CREATE UNIQUE INDEX "123456789abcdef0123456789abcdef0"
    ON marts.fct_bill_lines (team_id, subscription_key, period_start, line_key);
CREATE TABLE marts.fct_usage_daily (
    team_id integer NOT NULL, meter_id integer NOT NULL, day_start timestamptz NOT NULL, local_day timestamp,
    dimensions jsonb NOT NULL, quantity numeric(38, 12), event_count bigint);
-- What was deployed then reads a column that nothing needs any more.
CREATE VIEW staging.stg_billing__price_versions AS SELECT price_version_id, carry_tiers, parameters FROM billing.price_versions;

INSERT INTO billing.teams (team_key, team_name, time_zone) VALUES ('acme', 'Acme', 'Africa/Cairo');
INSERT INTO billing.meters (meter_key, meter_name, event_name, aggregation, unit) VALUES ('calls', 'Calls', 'call', 'sum', 'call');
INSERT INTO billing.plans (plan_key, plan_name) VALUES ('p', 'P');
INSERT INTO billing.prices (price_key, price_name, plan_id, meter_id, currency) VALUES ('p/calls', 'Calls', 1, 1, 'USD');
INSERT INTO billing.price_versions (price_id, effective_from, model, charge_unit) VALUES (1, '2020-01-01Z', 'graduated', 'call');
INSERT INTO billing.price_tiers VALUES (1, 1, 0, 10, 1, 0), (1, 2, 10, NULL, 0.5, 0);
INSERT INTO billing.subscriptions (team_id, currency, time_zone, starts_at) VALUES (1, 'USD', 'Africa/Cairo', '2026-04-30T21:00:00Z');
INSERT INTO billing.subscription_plans (team_id, effective_from, plan_id) VALUES (1, '2026-04-30T21:00:00Z', 1);
INSERT INTO marts.fct_bill_lines VALUES (
    1, 'acme', 'main', '2026-04-30T21:00:00Z', '2026-05-31T21:00:00Z', '2026-05', 'p/calls@2026-04-30T21:00Z', 'usage',
    '2026-04-30T21:00:00Z', 1, 'calls', 1, 'p/calls', 'Calls', '{}', 12.5, 'call', 12.5, 'call', 'USD', 11.25);
INSERT INTO marts.fct_rated_usage VALUES
    (1, 'main', '2026-04-30T21:00:00Z', '2026-05', 'p/calls@2026-04-30T21:00Z', 1, 1, '2026-04-30T21:00:00Z',
     '2026-05-31T21:00:00Z', 1, 0, 10, 'USD', 'call', 10, 1, 10, 0),
    (1, 'main', '2026-04-30T21:00:00Z', '2026-05', 'p/calls@2026-04-30T21:00Z', 1, 1, '2026-04-30T21:00:00Z',
     '2026-05-31T21:00:00Z', 2, 10, NULL, 'USD', 'call', 2.5, 0.5, 1.25, 0);
INSERT INTO billing.finalized_bills (team_id, subscription_key, period_start, currency, total, as_of, digest)
VALUES (1, 'main', '2026-04-30T21:00:00Z', 'USD', 11.25, '2026-06-01Z', '');
INSERT INTO billing.finalized_bill_lines VALUES (
    1, 'main', '2026-04-30T21:00:00Z', 'p/calls@2026-04-30T21:00Z', 'usage', '2026-04-30T21:00:00Z', 1, 1, 12.5, 12.5, 11.25);
INSERT INTO marts.fct_usage_daily VALUES (1, 1, '2026-04-23T22:00:00Z', '2026-04-24T01:00:00', '{}', 1, 1);
