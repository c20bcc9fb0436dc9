-- Statements of metering.catalog.effects: whom the rows that this transaction has recorded are about, since when.

-- name: known_subscriptions
-- The subscriptions as they are known before a catalog is applied, to be compared with after it.
CREATE TEMPORARY TABLE subscriptions_before ON COMMIT DROP AS
SELECT DISTINCT ON (team_id, subscription_key) *
FROM billing.subscriptions
ORDER BY team_id, subscription_key, recorded_at DESC;

-- name: subscriptions_redefined
-- Subscriptions with billing periods whose currency, zone, anchor day or start is another now: their periods would be others.
SELECT teams.team_key, now_known.subscription_key
FROM billing.subscriptions AS now_known
JOIN subscriptions_before AS before USING (team_id, subscription_key)
JOIN billing.teams AS teams USING (team_id)
WHERE now_known.recorded_at >= %(since)s
    AND (now_known.currency, now_known.time_zone, now_known.anchor_day, now_known.starts_at, now_known.cycle_days,
         now_known.cycle_from)
        IS DISTINCT FROM
        (before.currency, before.time_zone, before.anchor_day, before.starts_at, before.cycle_days, before.cycle_from)
    AND EXISTS (
        SELECT FROM billing.billing_periods AS periods
        WHERE (periods.team_id, periods.subscription_key) = (now_known.team_id, now_known.subscription_key))
ORDER BY 1, 2;

-- name: effects
-- Each change that this transaction has recorded and each subscription that it is about: from when until when, and how many
-- of its billing periods, final and not, have been priced otherwise in that time up to now.
WITH subscriptions AS (
    SELECT DISTINCT ON (team_id, subscription_key) *
    FROM billing.subscriptions
    ORDER BY team_id, subscription_key, recorded_at DESC
),
plan_versions AS (
    SELECT DISTINCT ON (team_id, subscription_key, effective_from) *
    FROM billing.subscription_plans
    ORDER BY team_id, subscription_key, effective_from, recorded_at DESC
),
plan_stretches AS (
    SELECT *, lead(effective_from, 1, 'infinity') OVER (
            PARTITION BY team_id, subscription_key ORDER BY effective_from) AS effective_until
    FROM plan_versions
),
changed_prices AS (
    SELECT 'price version' AS kind, prices.price_key || coalesce(' of ' || teams.team_key, '') AS key, prices.plan_id, prices.currency, versions.team_id,
        versions.effective_from,
        coalesce((
            SELECT min(later.effective_from) FROM billing.price_versions AS later
            WHERE later.price_id = versions.price_id AND later.effective_from > versions.effective_from
                AND later.team_id IS NOT DISTINCT FROM versions.team_id
        ), 'infinity') AS effective_until
    FROM billing.price_versions AS versions
    JOIN billing.prices AS prices USING (price_id)
    LEFT JOIN billing.teams AS teams ON teams.team_id = versions.team_id
    WHERE versions.recorded_at >= %(since)s
    UNION ALL
    SELECT 'plan terms', plans.plan_key, terms.plan_id, terms.currency, NULL, terms.effective_from,
        coalesce((
            SELECT min(later.effective_from) FROM billing.plan_terms AS later
            WHERE later.plan_id = terms.plan_id AND later.currency = terms.currency
                AND later.effective_from > terms.effective_from
        ), 'infinity')
    FROM billing.plan_terms AS terms
    JOIN billing.plans AS plans USING (plan_id)
    WHERE terms.recorded_at >= %(since)s
),
changes AS (
    SELECT changed.kind, changed.key, changed.effective_from AS version_from,
        stretches.team_id, stretches.subscription_key,
        greatest(changed.effective_from, stretches.effective_from) AS changed_from,
        least(changed.effective_until, stretches.effective_until) AS changed_until
    FROM changed_prices AS changed
    JOIN plan_stretches AS stretches
        ON stretches.plan_id = changed.plan_id
        AND (changed.team_id IS NULL OR changed.team_id = stretches.team_id)
        AND stretches.effective_from < changed.effective_until AND stretches.effective_until > changed.effective_from
    JOIN subscriptions
        ON subscriptions.team_id = stretches.team_id
        AND subscriptions.subscription_key = stretches.subscription_key
        AND subscriptions.currency = changed.currency
    UNION ALL
    SELECT 'subscription plan', plans.plan_key, stretches.effective_from, stretches.team_id, stretches.subscription_key,
        stretches.effective_from, stretches.effective_until
    FROM plan_stretches AS stretches
    JOIN billing.plans AS plans USING (plan_id)
    WHERE stretches.recorded_at >= %(since)s
    UNION ALL
    -- A subscription that ends otherwise: the time between both ends.
    SELECT 'subscription', subscriptions.subscription_key, subscriptions.starts_at, subscriptions.team_id,
        subscriptions.subscription_key,
        least(coalesce(subscriptions.ends_at, 'infinity'), coalesce(before.ends_at, 'infinity')),
        greatest(coalesce(subscriptions.ends_at, 'infinity'), coalesce(before.ends_at, 'infinity'))
    FROM subscriptions
    JOIN subscriptions_before AS before USING (team_id, subscription_key)
    WHERE subscriptions.recorded_at >= %(since)s AND subscriptions.ends_at IS DISTINCT FROM before.ends_at
)
SELECT
    changes.kind, changes.key, changes.version_from, changes.changed_from, teams.team_id, teams.team_key,
    changes.subscription_key,
    count(periods.period_start) FILTER (WHERE periods.finalized_at IS NOT NULL) AS final_periods,
    count(periods.period_start) FILTER (WHERE periods.finalized_at IS NULL) AS open_periods,
    min(periods.period_label) FILTER (WHERE periods.finalized_at IS NOT NULL) AS first_final
FROM changes
JOIN billing.teams AS teams USING (team_id)
JOIN subscriptions USING (team_id, subscription_key)
LEFT JOIN billing.billing_periods AS periods
    ON periods.team_id = changes.team_id AND periods.subscription_key = changes.subscription_key
    AND periods.period_start < changes.changed_until AND periods.period_end > changes.changed_from
    AND greatest(periods.period_start, changes.changed_from) < %(now)s::timestamptz
WHERE changes.kind = 'subscription' OR changes.changed_from < coalesce(subscriptions.ends_at, 'infinity')
GROUP BY 1, 2, 3, 4, 5, 6, 7
ORDER BY changes.kind, changes.key, changes.version_from, teams.team_key, changes.subscription_key;

-- name: is_rated
-- Whether the models that bills come from are there.
SELECT to_regclass('intermediate.int_bill_lines') IS NOT NULL AS found;

-- name: join_whole_sets
-- As the marts are made; see the dbt macro plan_for_sets.
SET LOCAL enable_nestloop = off;

-- name: amounts
-- What the bills of some teams come to by what is known in this transaction, by the period that each amount is about.
SELECT
    teams.team_key, lines.subscription_key, lines.period_start, lines.period_label, lines.kind,
    about.period_label AS about_label, lines.currency::text AS currency, sum(lines.amount) AS amount
FROM intermediate.int_bill_lines AS lines
JOIN billing.teams AS teams USING (team_id)
LEFT JOIN billing.billing_periods AS about
    ON about.team_id = lines.team_id AND about.subscription_key = lines.subscription_key
    AND about.period_start = lines.about_period_start
WHERE lines.team_id = ANY (%(teams)s)
GROUP BY 1, 2, 3, 4, 5, 6, 7
ORDER BY 1, 2, 3, 5 DESC, 6;

-- name: record_correction
-- Remembers why the past was changed.
INSERT INTO billing.catalog_corrections (made_by, reason, changes) VALUES (%(made_by)s, %(reason)s, %(changes)s);
