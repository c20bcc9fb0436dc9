-- Statements of metering.pages.overview: how billing periods stand.

-- name: is_built
-- Whether anything was ever reconciled in this database.
SELECT to_regclass('marts.fct_reconciliation_by_period') IS NOT NULL AS is_built;

-- name: summary
-- How many periods there are, how many differ, and when Stripe was asked last.
SELECT
    count(*) AS periods, count(*) FILTER (WHERE NOT is_reconciled) AS differing, max(stripe_observed_at) AS read_at
FROM marts.fct_reconciliation_by_period
WHERE %(team)s::text IS NULL OR team_key = %(team)s;

-- name: held
-- Teams of which nothing becomes final and nothing is sent until they are released.
SELECT teams.team_key, string_agg(holds.reason, ' ' ORDER BY holds.held_at) AS reason
FROM billing.holds AS holds
JOIN billing.teams AS teams USING (team_id)
WHERE holds.released_at IS NULL AND (%(team)s::text IS NULL OR teams.team_key = %(team)s)
GROUP BY teams.team_key
ORDER BY teams.team_key;

-- name: periods
-- A page of periods, those that began last first.
SELECT
    report.team_id, report.team_key, report.subscription_key, report.period_start, report.period_label,
    report.bill_status, report.currency, report.bill_total, report.meters,
    report.events_landed_minus_metered, report.meters_landed_minus_metered, report.meters_metered_minus_rated,
    report.meters_rated_minus_billed, report.rated_minus_billed_amount, report.lines_minus_bill_amount,
    report.meters_billed_minus_ledger, report.meters_ledger_minus_submitted, report.meters_submitted_minus_stripe,
    report.is_reconciled
FROM marts.fct_reconciliation_by_period AS report
WHERE (%(team)s::text IS NULL OR report.team_key = %(team)s)
    AND (NOT %(only_differing)s OR NOT report.is_reconciled)
    AND (%(start)s::timestamptz IS NULL
        OR (-extract(epoch FROM report.period_start), report.team_id, report.subscription_key)
            > (-extract(epoch FROM %(start)s::timestamptz), %(team_id)s, %(subscription)s))
ORDER BY -extract(epoch FROM report.period_start), report.team_id, report.subscription_key
LIMIT %(limit)s;
