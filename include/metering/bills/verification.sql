-- Statements of metering.bills.verification: final bills, and what they come to when they are built again.

-- name: choose
-- Every bill that became final since a moment, and some of the others: other ones every day. Beside what was kept of a bill, what its
-- kept lines come to.
SELECT
    teams.team_key, periods.period_label, bills.team_id, bills.subscription_key, bills.period_start, bills.as_of,
    bills.digest, trim_scale(bills.total) AS total, bills.currency::text AS currency, kept.digest AS digest_of_lines,
    kept.total AS total_of_lines
FROM billing.finalized_bills AS bills
JOIN billing.billing_periods AS periods USING (team_id, subscription_key, period_start)
JOIN billing.teams AS teams USING (team_id)
CROSS JOIN LATERAL (
    SELECT
        billing.bill_digest(string_agg(
            billing.line_said(lines.line_key, lines.kind, lines.about_period_start, lines.quantity, lines.amount),
            E'\n' ORDER BY lines.line_key COLLATE "C")) AS digest,
        trim_scale(coalesce(sum(lines.amount), 0)) AS total
    FROM billing.finalized_bill_lines AS lines
    WHERE (lines.team_id, lines.subscription_key, lines.period_start)
        = (bills.team_id, bills.subscription_key, bills.period_start)
) AS kept
WHERE (%(team)s::text IS NULL OR teams.team_key = %(team)s)
    AND (%(period)s::text IS NULL OR periods.period_label = %(period)s)
ORDER BY bills.finalized_at >= %(since)s DESC, hashtextextended(concat_ws(' ', %(seed)s::text, team_key, period_start), 0)
LIMIT (SELECT count(*) FROM billing.finalized_bills WHERE finalized_at >= %(since)s) + %(sample)s;

-- name: rebuild
-- The bill as of the session's moment: its digest and its total.
SELECT
    billing.bill_digest(string_agg(
        billing.line_said(lines.line_key, lines.kind, lines.about_period_start, lines.quantity, lines.amount),
        E'\n' ORDER BY lines.line_key COLLATE "C")) AS digest,
    trim_scale(coalesce(sum(lines.amount), 0)) AS total
FROM intermediate.int_bill_lines AS lines
WHERE lines.team_id = %(team_id)s AND lines.subscription_key = %(subscription_key)s
    AND lines.period_start = %(period_start)s;
