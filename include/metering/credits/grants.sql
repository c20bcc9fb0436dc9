-- Statements of metering.credits.grants.

-- name: record_now
-- Grants are recorded in the order of recording, as everything is that metering takes up.
SELECT landing.record_now();

-- name: team
-- The team by its key.
SELECT team_id FROM billing.teams WHERE team_key = %(team)s;

-- name: add
-- A grant that is new.
INSERT INTO billing.credit_grants (
    team_id, grant_key, currency, amount, effective_from, expires_at, reason, granted_by)
SELECT team_id, %(key)s, %(currency)s, %(amount)s, %(effective_from)s, coalesce(%(expires_at)s::timestamptz, 'infinity'),
       %(reason)s, %(granted_by)s
FROM billing.teams WHERE team_key = %(team)s
ON CONFLICT (team_id, grant_key) DO NOTHING
RETURNING grant_key;

-- name: is_the_same
-- Whether the grant of that key says the same.
SELECT grants.grant_key
FROM billing.credit_grants AS grants
JOIN billing.teams AS teams USING (team_id)
WHERE teams.team_key = %(team)s AND grants.grant_key = %(key)s AND grants.currency = %(currency)s
    AND grants.amount = %(amount)s AND grants.effective_from = %(effective_from)s
    AND grants.expires_at = coalesce(%(expires_at)s::timestamptz, 'infinity');

-- name: left
-- Each grant with what bills have drawn of it, in the order in which it is drawn.
SELECT
    grants.grant_key, grants.currency::text AS currency, trim_scale(grants.amount) AS amount, grants.effective_from,
    nullif(grants.expires_at, 'infinity') AS expires_at, grants.reason, grants.granted_by, grants.recorded_at,
    trim_scale(-coalesce(sum(lines.amount) FILTER (WHERE bills.status = 'finalized'), 0)) AS drawn_by_final_bills,
    trim_scale(-coalesce(sum(lines.amount) FILTER (WHERE bills.status <> 'finalized'), 0)) AS drawn_by_open_bills,
    trim_scale(grants.amount + coalesce(sum(lines.amount), 0)) AS is_left
FROM billing.credit_grants AS grants
JOIN billing.teams AS teams USING (team_id)
LEFT JOIN marts.fct_bill_lines AS lines
    ON lines.team_id = grants.team_id AND lines.kind = 'credit' AND lines.line_key = 'credit@' || grants.grant_key
LEFT JOIN marts.fct_bills AS bills
    ON bills.team_id = lines.team_id AND bills.subscription_key = lines.subscription_key
    AND bills.period_start = lines.period_start
WHERE teams.team_key = %(team)s
GROUP BY grants.team_id, grants.grant_key
ORDER BY grants.expires_at, grants.effective_from, grants.grant_key;
