-- name: summary
-- How much there is to compare, and the sum of the absolute differences at each step, as text.
SELECT
    count(*) AS compared,
    count(*) FILTER (WHERE stripe_verdict = 'settling') AS settling,
    trim_scale(coalesce(sum(abs(landed_minus_metered)), 0))::text AS landed_minus_metered,
    trim_scale(coalesce(sum(abs(metered_minus_rated)), 0))::text AS metered_minus_rated,
    trim_scale(coalesce(sum(abs(rated_minus_billed)), 0))::text AS rated_minus_billed,
    trim_scale(coalesce(sum(abs(rated_minus_billed_amount)), 0))::text AS rated_minus_billed_amount,
    trim_scale(coalesce(sum(abs(billed_minus_ledger)), 0))::text AS billed_minus_ledger,
    trim_scale(coalesce(sum(abs(ledger_minus_submitted)), 0))::text AS ledger_minus_submitted,
    trim_scale(coalesce(sum(abs(submitted_minus_stripe)), 0))::text AS submitted_minus_stripe
FROM marts.fct_reconciliation;

-- name: differing
-- Each place where a step differs from the one before, those of the largest difference first.
SELECT
    report.team_key || ' ' || report.period_label || ' ' || report.meter_key AS place, steps.step, steps.difference
FROM marts.fct_reconciliation AS report
CROSS JOIN LATERAL (VALUES
    ('landed - metered', report.landed_minus_metered),
    ('landed - metered events', (report.events_landed - report.events_metered)::numeric),
    ('metered - rated', report.metered_minus_rated),
    ('rated - billed', report.rated_minus_billed),
    ('rated - billed amount', report.rated_minus_billed_amount),
    ('billed - ledger', report.billed_minus_ledger),
    ('ledger - submitted', report.ledger_minus_submitted),
    -- Stripe takes a while to count what it accepted.
    ('submitted - Stripe', CASE WHEN report.stripe_verdict = 'settling' THEN 0 ELSE report.submitted_minus_stripe END)
) AS steps (step, difference)
WHERE steps.difference <> 0
ORDER BY abs(steps.difference) DESC, place, steps.step;
