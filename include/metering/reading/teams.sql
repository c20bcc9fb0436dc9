-- Statements of metering.reading.teams.

-- name: team
-- A team by its key.
SELECT team_id, team_key FROM billing.teams WHERE team_key = %(team_key)s;

-- name: with_key
-- The teams of which an event with this key has counted; asked by each team's own key, which the index begins with.
SELECT teams.team_id, teams.team_key
FROM billing.teams AS teams
WHERE (%(team)s::text IS NULL OR teams.team_key = %(team)s)
    AND EXISTS (
        SELECT FROM landing.event_keys AS keys WHERE keys.team_id = teams.team_id AND keys.key_digest = %(key_digest)s)
ORDER BY teams.team_key;
