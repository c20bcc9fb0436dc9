-- name: offenders
-- Whom the rows of a failed check are about: a sentence for each team, null for what is nobody's. It names ten at most.
SELECT
    findings.team_id,
    coalesce(teams.team_key, 'No team') || ': ' || array_to_string((array_agg(
        findings.about || ' (' || trim_scale(findings.found::numeric) || ')' ORDER BY findings.about))[:10], '; ')
        || CASE WHEN count(*) > 10 THEN ' and ' || count(*) - 10 || ' more' ELSE '' END || '.' AS sentence
FROM ({check}) AS findings
LEFT JOIN billing.teams AS teams USING (team_id)
GROUP BY findings.team_id, teams.team_key;

-- name: failing
-- The checks of a gate that failed when they were last made.
SELECT expectation FROM (
    SELECT DISTINCT ON (expectation) expectation, success FROM billing.gate_results
    WHERE gate = %(gate)s ORDER BY expectation, checked_at DESC
) AS latest
WHERE NOT success;

-- name: hold_teams
-- Holds teams for a check; who is held for it already stays held since then, for the newest reason.
INSERT INTO billing.holds (team_id, hold_key, gate, reason)
SELECT held.team_id, %(hold_key)s, %(gate)s, held.reason
FROM unnest(%(teams)s::integer[], %(reasons)s::text[]) AS held (team_id, reason)
ON CONFLICT (team_id, hold_key) WHERE released_at IS NULL DO UPDATE SET reason = excluded.reason
RETURNING team_id, reason, xmax = 0 AS is_new;

-- name: release_teams
-- Releases whom a check held before and does not find any more.
UPDATE billing.holds
SET released_at = clock_timestamp(), released_by = %(released_by)s
WHERE hold_key = %(hold_key)s AND released_at IS NULL AND team_id <> ALL (%(still_held)s::integer[])
RETURNING team_id;

-- name: record_result
-- What a check found, in numbers.
INSERT INTO billing.gate_results (gate, run_id, expectation, severity, success, observed, checked_at)
VALUES (%(gate)s, %(run_id)s, %(expectation)s, %(severity)s, %(success)s, %(observed)s::jsonb, clock_timestamp());

-- name: plan_for_sets
-- For the rest of the transaction: see the macro of the same name in the dbt project.
SET LOCAL enable_nestloop = off;
