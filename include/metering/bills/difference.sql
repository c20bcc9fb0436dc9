-- Statements of metering.bills.difference: what was recorded between two moments that a bill can depend on.

-- name: changes
-- Each change of what a subscription is priced by, recorded in (since, until]: what it is and when it takes effect.
WITH plans AS (
    SELECT DISTINCT plan_id FROM billing.subscription_plans
    WHERE team_id = %(team_id)s AND subscription_key = %(subscription_key)s AND recorded_at <= %(until)s
),
changes AS (
    SELECT versions.recorded_at, 'price version' AS kind, prices.price_key AS key, versions.effective_from,
        CASE WHEN versions.team_id IS NOT NULL THEN 'for this team alone' END AS detail
    FROM billing.price_versions AS versions
    JOIN billing.prices AS prices USING (price_id)
    JOIN plans USING (plan_id)
    WHERE prices.currency = %(currency)s AND (versions.team_id IS NULL OR versions.team_id = %(team_id)s)
    UNION ALL
    SELECT terms.recorded_at, 'plan terms', plans_named.plan_key, terms.effective_from, NULL
    FROM billing.plan_terms AS terms
    JOIN plans USING (plan_id)
    JOIN billing.plans AS plans_named USING (plan_id)
    WHERE terms.currency = %(currency)s
    UNION ALL
    SELECT recorded_at, 'subscription plan', plan_key, effective_from, NULL
    FROM billing.subscription_plans JOIN billing.plans USING (plan_id)
    WHERE team_id = %(team_id)s AND subscription_key = %(subscription_key)s
    UNION ALL
    SELECT recorded_at, 'subscription', subscription_key, starts_at, 'ends ' || coalesce(ends_at::text, 'never')
    FROM billing.subscriptions
    WHERE team_id = %(team_id)s AND subscription_key = %(subscription_key)s
    UNION ALL
    SELECT recorded_at, 'credit', grant_key, effective_from, trim_scale(amount) || ' ' || currency || ': ' || reason
    FROM billing.credit_grants
    WHERE team_id = %(team_id)s AND currency = %(currency)s
    UNION ALL
    SELECT meters.created_at, 'meter', meters.meter_key, NULL, 'counts ' || meters.event_name
    FROM billing.meters AS meters
    JOIN billing.prices AS prices USING (meter_id)
    JOIN plans USING (plan_id)
    UNION ALL
    -- Bills that become final: from then on what changes about them is an adjustment on the next.
    SELECT bills.finalized_at, 'final bill', periods.period_label, bills.period_start, NULL
    FROM billing.finalized_bills AS bills
    JOIN billing.billing_periods AS periods USING (team_id, subscription_key, period_start)
    WHERE bills.team_id = %(team_id)s
    UNION ALL
    -- Without being recorded: the period that began.
    SELECT %(period_start)s::timestamptz, 'period begun', %(period_label)s, %(period_start)s::timestamptz, NULL
)
SELECT DISTINCT recorded_at, kind, key, effective_from, detail FROM changes
WHERE recorded_at > %(since)s AND recorded_at <= %(until)s
ORDER BY recorded_at, kind, key;

-- name: usage_recorded
-- Moments at which usage of the team was recorded or withdrawn that lies before the end of the bill's period: the first and the
-- last of each stretch between the bounds, which are sorted and end with the later moment.
WITH stretches AS (
    SELECT lag(bound) OVER (ORDER BY bound) AS since, bound AS until FROM unnest(%(bounds)s::timestamptz[]) AS bound
)
SELECT stretches.until
FROM stretches
WHERE stretches.since IS NOT NULL AND (
    EXISTS (
        SELECT FROM landing.usage_events AS events
        WHERE events.team_id = %(team_id)s AND events.occurred_at < %(period_end)s
            AND events.recorded_at > stretches.since AND events.recorded_at <= stretches.until)
    OR EXISTS (
        SELECT FROM landing.event_withdrawals AS withdrawals
        WHERE withdrawals.team_id = %(team_id)s
            AND withdrawals.recorded_at > stretches.since AND withdrawals.recorded_at <= stretches.until))
ORDER BY stretches.until;

-- name: events
-- The events of a meter that came, or were withdrawn, in (since, until] and lie in a half-open range of event time.
WITH arrived AS (
    SELECT metered.occurred_at, metered.key_digest, metered.metered_value
    FROM intermediate.int_events_metered AS metered
    WHERE metered.team_id = %(team_id)s AND metered.meter_id = %(meter_id)s
        AND metered.occurred_at >= %(occurred_from)s AND metered.occurred_at < %(occurred_until)s
        AND metered.recorded_at > %(since)s AND metered.recorded_at <= %(until)s
),
withdrawn AS (
    SELECT events.occurred_at, events.key_digest, events.event_key
    FROM landing.event_withdrawals AS withdrawals
    JOIN landing.usage_events AS events USING (team_id, occurred_at, key_digest)
    JOIN billing.meters AS meters ON meters.event_name = events.event_name
    WHERE withdrawals.team_id = %(team_id)s AND meters.meter_id = %(meter_id)s
        AND withdrawals.occurred_at >= %(occurred_from)s AND withdrawals.occurred_at < %(occurred_until)s
        AND withdrawals.recorded_at > %(since)s AND withdrawals.recorded_at <= %(until)s
        AND events.recorded_at <= %(since)s
)
SELECT
    (SELECT count(*) FROM arrived) AS came,
    (SELECT count(*) FROM withdrawn) AS withdrawn,
    coalesce((
        SELECT array_agg(event_key ORDER BY occurred_at, event_key) FROM (
            SELECT keys.occurred_at, events.event_key
            FROM (
                (SELECT occurred_at, key_digest FROM arrived ORDER BY occurred_at, key_digest LIMIT %(limit)s)
                UNION ALL
                (SELECT occurred_at, key_digest FROM withdrawn ORDER BY occurred_at, key_digest LIMIT %(limit)s)
            ) AS keys
            JOIN landing.usage_events AS events
                ON events.team_id = %(team_id)s AND events.occurred_at = keys.occurred_at
                AND events.key_digest = keys.key_digest
            ORDER BY keys.occurred_at, events.event_key LIMIT %(limit)s
        ) AS first_keys), '{}') AS keys;

-- name: about
-- The meters that lines are about, and the range of event time that counts for them: of a level all that came before, too.
SELECT meters.meter_key, meters.meter_id, periods.period_label, periods.period_start,
    CASE WHEN meters.aggregation = 'weighted_sum' THEN '0001-01-02Z' ELSE periods.period_start END AS occurred_from,
    periods.period_end AS occurred_until
FROM billing.meters AS meters
CROSS JOIN billing.billing_periods AS periods
WHERE meters.meter_key = ANY (%(meters)s)
    AND periods.team_id = %(team_id)s AND periods.subscription_key = %(subscription_key)s
    AND periods.period_label = ANY (%(labels)s);
