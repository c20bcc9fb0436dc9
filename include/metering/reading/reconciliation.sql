-- Statements of metering.reading.reconciliation: one billing period at every step from raw events to Stripe, as it stands now.

-- name: one_snapshot
-- All steps are read from one state of the database; none of them writes.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;

-- name: ask
-- The first statement, whose snapshot is taken after now().
SELECT
    now() AS as_of,
    (SELECT max(recorded_until) FROM billing.metering_runs) AS metered_until,
    set_config('billing.asked_team', %(team_id)s::integer::text, true) AS asked_team,
    set_config('enable_nestloop', 'off', true) AS nestloop,
    set_config('jit', 'off', true) AS jit;

-- name: periods
-- The billing periods of a label.
SELECT subscription_key, period_start, period_end, period_label, currency::text AS currency, is_finalized
FROM intermediate.int_billing_periods
WHERE team_id = %(team_id)s AND period_label = %(period)s
    AND (%(subscription)s::text IS NULL OR subscription_key = %(subscription)s)
ORDER BY subscription_key, period_start;

-- name: steps
-- The same usage at every step, by the SQL of the reconciliation mart: see macros/reconciliation.sql.
SELECT
    meter_id, meter_key, is_priced, events_landed, events_metered,
    trim_scale(landed_quantity) AS landed, trim_scale(metered_quantity) AS metered, trim_scale(rated_quantity) AS rated,
    trim_scale(billed_quantity) AS billed, trim_scale(ledger_quantity) AS target,
    trim_scale(submitted_quantity) AS submitted, trim_scale(stripe_quantity) AS stripe,
    trim_scale(rated_amount) AS rated_amount, trim_scale(billed_amount) AS billed_amount,
    trim_scale(landed_minus_metered) AS landed_minus_metered, trim_scale(metered_minus_rated) AS metered_minus_rated,
    trim_scale(rated_minus_billed) AS rated_minus_billed,
    trim_scale(rated_minus_billed_amount) AS rated_minus_billed_amount,
    trim_scale(billed_minus_ledger) AS billed_minus_target,
    trim_scale(ledger_minus_submitted) AS target_minus_submitted,
    trim_scale(submitted_minus_stripe) AS submitted_minus_stripe
FROM intermediate.int_reconciliation_asked
WHERE team_id = %(team_id)s AND subscription_key = %(subscription_key)s AND period_start = %(period_start)s
ORDER BY meter_key;

-- name: arrived_since
-- Events of the period that landed after the last metering run took its horizon; no step has reached them yet.
SELECT metered.meter_id, count(*) AS events, trim_scale(sum(metered.metered_value)) AS quantity
FROM intermediate.int_events_metered AS metered
WHERE metered.team_id = %(team_id)s
    AND metered.recorded_at > (SELECT coalesce(max(recorded_until), '-infinity') FROM billing.metering_runs)
    AND metered.occurred_at >= %(period_start)s AND metered.occurred_at < %(period_end)s
GROUP BY metered.meter_id;

-- name: archived
-- Months of the period whose events have been archived, so that they can't be counted from raw.
SELECT string_agg(to_char(month, 'YYYY-MM'), ', ' ORDER BY month) AS months
FROM landing.archived_months
WHERE state <> 'restored' AND starts_at < %(period_end)s AND ends_at > %(period_start)s;

-- name: queued_windows
-- Quarter-hours of the period that a metering run has taken up and not finished.
SELECT meter_id, count(*) AS windows
FROM billing.buckets_to_meter
WHERE team_id = %(team_id)s AND bucket_start >= %(period_start)s AND bucket_start < %(period_end)s
GROUP BY meter_id;

-- name: queued_bills
-- Whether bills of the subscription are to be made again.
SELECT EXISTS (
    SELECT FROM billing.periods_to_rate WHERE team_id = %(team_id)s AND subscription_key = %(subscription_key)s
) AS queued;

-- name: unpriced
-- Usage that meets no price though its meter has prices.
SELECT meter_id, trim_scale(sum(quantity)) AS quantity
FROM intermediate.int_usage_priced
WHERE team_id = %(team_id)s AND subscription_key = %(subscription_key)s AND period_start = %(period_start)s
    AND price_version_id IS NULL
GROUP BY meter_id;

-- name: asked_of_stripe
-- What planning the next submission will find that Stripe should have.
SELECT meter_id, trim_scale(sum(quantity)) AS quantity
FROM marts.fct_stripe_usage
WHERE team_id = %(team_id)s AND subscription_key = %(subscription_key)s AND period_start = %(period_start)s
GROUP BY meter_id;

-- name: owed_to_stripe
-- What Stripe should have and has not accepted, by what is in the way; on_its_way is planned, sent or of unknown outcome.
SELECT
    windows.meter_id, windows.held_code, min(windows.held_reason) AS held_reason,
    trim_scale(sum(windows.open_quantity)) AS on_its_way,
    trim_scale(sum(windows.target_quantity - windows.ledger_quantity - windows.open_quantity)) AS quantity
FROM billing.stripe_window_states AS windows
WHERE windows.team_id = %(team_id)s
    AND windows.window_start >= %(period_start)s AND windows.window_start < %(period_end)s
    AND windows.target_quantity <> windows.ledger_quantity
GROUP BY windows.meter_id, windows.held_code
ORDER BY windows.meter_id, windows.held_code;

-- name: team_holds
-- Why nothing of the team is finalized or submitted, if so.
SELECT reason FROM billing.holds WHERE team_id = %(team_id)s AND released_at IS NULL ORDER BY held_at;

-- name: observed
-- The last reading of Stripe's own total of the period, and what the ledger held then.
SELECT DISTINCT ON (meter_id)
    meter_id, observed_at, verdict, trim_scale(stripe_quantity) AS stripe, trim_scale(ledger_quantity) AS ledger
FROM billing.stripe_observations
WHERE team_id = %(team_id)s AND subscription_key = %(subscription_key)s AND period_start = %(period_start)s
ORDER BY meter_id, observed_at DESC;
