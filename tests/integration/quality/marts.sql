-- The columns of dbt's models that gates and alerts read.
CREATE SCHEMA marts;
CREATE SCHEMA intermediate;
CREATE TABLE marts.fct_bills (
    team_id integer, team_key text, subscription_key text, period_start timestamptz, period_end timestamptz, period_label text,
    currency text, total numeric(38, 12), status text);
CREATE TABLE marts.fct_bill_lines (
    team_id integer, subscription_key text, period_start timestamptz, line_key text, kind text, about_period_start timestamptz,
    meter_id integer, quantity numeric(38, 12), charge_quantity numeric(38, 12), currency text, amount numeric(38, 12));
CREATE TABLE marts.fct_rated_usage (
    team_id integer, subscription_key text, period_start timestamptz, line_key text, tier_quantity numeric(38, 12),
    usage_amount numeric(60, 24), fixed_amount numeric(60, 24));
CREATE TABLE intermediate.int_usage_unpriced (
    team_id integer, meter_id integer, period_start timestamptz, quantity numeric(38, 12), reason text);
