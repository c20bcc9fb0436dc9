-- What is needed to tell, of any moment, up to where metering had come.
ALTER TABLE billing.metering_runs ADD COLUMN superseded_at timestamptz;
COMMENT ON COLUMN billing.metering_runs.superseded_at IS
    'When another run opened before this one had closed: what this one was to work in, that one did. Null: it closed by itself.';

-- Of runs before this was kept: those that closed as the next one opened. Taking one for superseded that was not costs a bill of
-- the past a few windows more to count; the other way round it would be wrong.
UPDATE billing.metering_runs AS runs SET superseded_at = runs.closed_at
WHERE EXISTS (
    SELECT FROM billing.metering_runs AS next
    WHERE next.run_id > runs.run_id AND next.opened_at < runs.closed_at + interval '1 second');

CREATE FUNCTION billing.subscriptions_changed(since timestamptz, until timestamptz)
RETURNS TABLE (team_id integer, subscription_key text)
LANGUAGE sql STABLE AS $$
    WITH changed_plans AS (
        SELECT prices.plan_id, versions.team_id
        FROM billing.price_versions AS versions
        JOIN billing.prices AS prices USING (price_id)
        WHERE versions.recorded_at > since AND versions.recorded_at <= until
        UNION
        SELECT terms.plan_id, NULL FROM billing.plan_terms AS terms
        WHERE terms.recorded_at > since AND terms.recorded_at <= until
    )
    SELECT known.team_id, known.subscription_key FROM billing.subscriptions AS known
    WHERE known.recorded_at > since AND known.recorded_at <= until
    UNION
    SELECT plans.team_id, plans.subscription_key FROM billing.subscription_plans AS plans
    WHERE plans.recorded_at > since AND plans.recorded_at <= until
    UNION
    SELECT plans.team_id, plans.subscription_key
    FROM billing.subscription_plans AS plans
    JOIN changed_plans
        ON changed_plans.plan_id = plans.plan_id
        AND (changed_plans.team_id IS NULL OR changed_plans.team_id = plans.team_id)
    UNION
    SELECT known.team_id, known.subscription_key
    FROM billing.subscriptions AS known
    JOIN billing.credit_grants AS grants ON grants.team_id = known.team_id
    WHERE grants.recorded_at > since AND grants.recorded_at <= until
$$;
COMMENT ON FUNCTION billing.subscriptions_changed(timestamptz, timestamptz) IS
    'Subscriptions whose plans, prices, terms or credits were recorded in (since, until].';

CREATE FUNCTION billing.line_said(line_key text, kind text, about_period_start timestamptz, quantity numeric, amount numeric)
RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT concat_ws(E'\t', line_key, kind, to_char(about_period_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
        trim_scale(quantity)::text, trim_scale(amount)::text)
$$;
COMMENT ON FUNCTION billing.line_said(text, text, timestamptz, numeric, numeric) IS
    'What a line of a bill says, as text, for the digest of the bill: numbers without trailing zeros and times in UTC, so that it '
    'depends on what the line says and not on how a column is declared.';

CREATE FUNCTION billing.bill_digest(lines_said text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT encode(sha256(convert_to(coalesce(lines_said, ''), 'UTF8')), 'hex')
$$;
COMMENT ON FUNCTION billing.bill_digest(text) IS
    'The digest of a bill: of what its lines say, a line each, in the order of their keys as bytes.';
