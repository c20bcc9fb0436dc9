-- Price models beyond tiers of units: blocks, percentages, capacity, hours; what stands around a price; cycles of days.

ALTER TABLE billing.price_versions DROP CONSTRAINT price_versions_model_check;
ALTER TABLE billing.price_versions ADD CONSTRAINT price_versions_model_check CHECK (model IN (
    'flat', 'per_unit', 'graduated', 'volume', 'package', 'percentage', 'graduated_percentage', 'dynamic', 'capacity'));
COMMENT ON COLUMN billing.price_versions.parameters IS
    'What not every price has, as docs/catalog.md names it: free units, rounding, windows, commitment, minimum, discount and so on.';

ALTER TABLE billing.price_tiers
    ADD COLUMN block_size numeric(38, 12) CHECK (block_size > 0),
    ADD COLUMN limits jsonb;
COMMENT ON COLUMN billing.price_tiers.block_size IS 'unit_amount is for each block of so many charge units; null: for each unit.';
COMMENT ON COLUMN billing.price_tiers.limits IS
    'Of a capacity price: up to how much of each value of its dimension this tier reaches. A value without one has no limit.';

ALTER TABLE billing.prices ADD COLUMN hours int4multirange;
ALTER TABLE billing.prices DROP CONSTRAINT prices_plan_id_meter_id_currency_match_key;
ALTER TABLE billing.prices
    ADD CONSTRAINT prices_for_the_same UNIQUE NULLS NOT DISTINCT (plan_id, meter_id, currency, match, hours);
COMMENT ON COLUMN billing.prices.hours IS
    'The quarter-hours of the week, on the team''s own clock, that this price is for: 0 is Monday from 00:00 to 00:15, 671 Sunday '
    'from 23:45. Null: all of them.';

ALTER TABLE billing.finalized_bill_lines DROP CONSTRAINT finalized_bill_lines_kind_check;
ALTER TABLE billing.finalized_bill_lines ADD CONSTRAINT finalized_bill_lines_kind_check CHECK (kind IN (
    'usage', 'overage', 'true_up', 'discount', 'minimum', 'maximum', 'credit', 'adjustment'));
-- What is about a whole bill, such as a credit, belongs to no meter and price.
ALTER TABLE billing.finalized_bill_lines ALTER COLUMN meter_id DROP NOT NULL, ALTER COLUMN price_version_id DROP NOT NULL;

-- What rating tells apart within one line: events of a percentage price, values of a capacity price.
CREATE TYPE billing.told_apart AS (decided_at timestamptz, member text, quantity numeric);

-- A subscription may be billed every so many days instead of by the month.
ALTER TABLE billing.subscriptions
    ADD COLUMN cycle_days smallint CHECK (cycle_days > 0),
    ADD COLUMN cycle_from date,
    ADD CHECK ((cycle_days IS NULL) = (cycle_from IS NULL));
COMMENT ON COLUMN billing.subscriptions.cycle_days IS
    'Length of a billing cycle in local days; cycles are counted from cycle_from. Null: months from anchor_day.';

CREATE FUNCTION billing.periods_of(
    starts_at timestamptz, ends_at timestamptz, time_zone text, anchor_day integer, cycle_days integer, cycle_from date,
    until timestamptz
) RETURNS TABLE (
    period_start timestamptz, period_end timestamptz, cycle_start timestamptz, cycle_end timestamptz, period_label text
)
LANGUAGE sql STABLE AS $$
    SELECT period_start, period_end, cycle_start, cycle_end, period_label
    FROM billing.periods_of(starts_at, ends_at, time_zone, anchor_day, until)
    WHERE cycle_days IS NULL
    UNION ALL
    SELECT
        greatest(cycle_start, starts_at), least(cycle_end, coalesce(ends_at, 'infinity')), cycle_start, cycle_end,
        to_char(greatest(cycle_start, starts_at) AT TIME ZONE time_zone, 'YYYY-MM-DD')
    FROM (
        SELECT
            (cycle_from + number * cycle_days)::timestamp AT TIME ZONE time_zone AS cycle_start,
            (cycle_from + (number + 1) * cycle_days)::timestamp AT TIME ZONE time_zone AS cycle_end
        FROM generate_series(
            floor(((starts_at AT TIME ZONE time_zone)::date - cycle_from)::numeric / cycle_days)::integer,
            floor(((least(until, coalesce(ends_at, until)) AT TIME ZONE time_zone)::date - cycle_from)::numeric / cycle_days)::integer
        ) AS number
        WHERE cycle_days IS NOT NULL
    ) AS cycles
    WHERE greatest(cycle_start, starts_at) < least(cycle_end, coalesce(ends_at, 'infinity'))
        AND greatest(cycle_start, starts_at) <= until
$$;
COMMENT ON FUNCTION billing.periods_of(timestamptz, timestamptz, text, integer, integer, date, timestamptz) IS
    'The half-open periods of a subscription that have begun by `until`, by the month or by so many local days, cut where the '
    'subscription starts and ends. The cycle is the period before it was cut.';

-- Marts that were built before follow.
ALTER TABLE IF EXISTS marts.fct_bill_lines ADD COLUMN IF NOT EXISTS exact_amount numeric(60, 24);
ALTER TABLE IF EXISTS marts.fct_rated_usage
    ADD COLUMN IF NOT EXISTS part text NOT NULL DEFAULT '',
    ADD COLUMN IF NOT EXISTS block_size numeric(38, 12),
    ADD COLUMN IF NOT EXISTS billed_units numeric(60, 24);
DO $$
DECLARE
    old record;
BEGIN
    IF to_regclass('marts.fct_rated_usage') IS NOT NULL THEN
        UPDATE marts.fct_bill_lines SET exact_amount = amount WHERE exact_amount IS NULL;
        UPDATE marts.fct_rated_usage SET billed_units = tier_quantity WHERE billed_units IS NULL;
        ALTER TABLE marts.fct_rated_usage ALTER COLUMN part DROP DEFAULT;
        FOR old IN
            SELECT indexname FROM pg_indexes
            WHERE schemaname = 'marts' AND tablename = 'fct_rated_usage' AND indexdef LIKE '%UNIQUE%line_key, tier)'
        LOOP
            EXECUTE format('DROP INDEX marts.%I', old.indexname);
        END LOOP;
        CREATE UNIQUE INDEX ON marts.fct_rated_usage (team_id, subscription_key, period_start, line_key, part, tier);
    END IF;
END $$;

-- A version of a price that holds for one team only.
ALTER TABLE billing.price_versions ADD COLUMN team_id integer REFERENCES billing.teams;
ALTER TABLE billing.price_versions DROP CONSTRAINT price_versions_price_id_effective_from_recorded_at_key;
ALTER TABLE billing.price_versions
    ADD CONSTRAINT price_versions_in_time UNIQUE NULLS NOT DISTINCT (price_id, team_id, effective_from, recorded_at);
COMMENT ON COLUMN billing.price_versions.team_id IS
    'The team for which this version replaces the plan''s, from effective_from on. Null: everybody on the plan.';

CREATE TABLE billing.plan_terms (
    plan_id        integer NOT NULL REFERENCES billing.plans,
    currency       char(3) NOT NULL REFERENCES billing.currencies,
    effective_from timestamptz NOT NULL CHECK (date_bin('15 minutes', effective_from, '2000-01-01Z') = effective_from),
    recorded_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    parameters     jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (plan_id, currency, effective_from, recorded_at)
);
COMMENT ON TABLE billing.plan_terms IS
    'What stands around all prices of a plan together: commitment, discount, minimum, maximum. Versions, as those of prices.';

CREATE TABLE billing.credit_grants (
    team_id        integer NOT NULL REFERENCES billing.teams,
    grant_key      text NOT NULL CHECK (grant_key ~ '^[^[:space:]@#]+$'),
    currency       char(3) NOT NULL REFERENCES billing.currencies,
    amount         numeric(38, 12) NOT NULL CHECK (amount > 0),
    effective_from timestamptz NOT NULL,
    expires_at     timestamptz NOT NULL DEFAULT 'infinity',
    reason         text NOT NULL CHECK (reason <> ''),
    granted_by     text NOT NULL,
    recorded_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (team_id, grant_key),
    CHECK (expires_at > effective_from)
);
COMMENT ON TABLE billing.credit_grants IS
    'Prepaid credits, one row a grant; rows are added and never changed. Bills draw them down in the order of their periods, '
    'those that expire first before the others; what they drew stands on their lines of kind credit.';

-- What is left of each grant after one more bill, the grants in the order in which they are drawn.
CREATE FUNCTION billing.draw_credits(
    credits_left numeric[], due numeric, period_start timestamptz, period_end timestamptz,
    amounts numeric[], effective timestamptz[], expiring timestamptz[]
) RETURNS numeric[]
LANGUAGE sql IMMUTABLE AS $$
    SELECT array_agg(has_left - least(can_be_drawn, greatest(due - drawn_before, 0)) ORDER BY place)
    FROM (
        SELECT place, has_left, can_be_drawn,
            sum(can_be_drawn) OVER (ORDER BY place) - can_be_drawn AS drawn_before
        FROM (
            SELECT granted.place, granted.has_left,
                CASE
                    WHEN granted.effective_from < period_end AND granted.expires_at > period_start THEN granted.has_left
                    ELSE 0
                END AS can_be_drawn
            FROM unnest(coalesce(credits_left, amounts), effective, expiring)
                WITH ORDINALITY AS granted (has_left, effective_from, expires_at, place)
        ) AS grants
    ) AS drawn
$$;
COMMENT ON FUNCTION billing.draw_credits(
    numeric[], numeric, timestamptz, timestamptz, numeric[], timestamptz[], timestamptz[]) IS
    'A grant pays bills of periods that begin before it expires and end after it became effective.';

CREATE AGGREGATE billing.credits_left(numeric, timestamptz, timestamptz, numeric[], timestamptz[], timestamptz[]) (
    SFUNC = billing.draw_credits, STYPE = numeric[]
);
COMMENT ON AGGREGATE billing.credits_left(numeric, timestamptz, timestamptz, numeric[], timestamptz[], timestamptz[]) IS
    'Over the bills of a team in the order of their periods: what is left of each grant after each of them.';
