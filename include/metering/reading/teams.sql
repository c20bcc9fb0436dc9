-- Statements of metering.reading.teams.

-- name: team
-- A team by its key.
SELECT team_id, team_key FROM billing.teams WHERE team_key = %(team_key)s;
