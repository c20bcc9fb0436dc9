-- Statements of metering.ingestion.catalog: what an event is checked against.

-- name: teams
-- Every team by its key.
SELECT team_key, team_id FROM billing.teams;

-- name: meters
-- What listens to which event, and what it asks of it.
SELECT meter_key, event_name, unit, aggregation, value_property, allow_negative, filters,
    coalesce(parameters ->> 'multiplier', '1') AS multiplier
FROM billing.meters
ORDER BY meter_id;

-- name: api_key
-- One API key by the SHA-256 of it, unless it has been revoked.
SELECT
    api_keys.key_hint, api_keys.team_id, teams.team_key, api_keys.scopes, api_keys.rate_per_second, api_keys.rate_burst
FROM billing.api_keys LEFT JOIN billing.teams USING (team_id)
WHERE api_keys.key_digest = %(key_digest)s AND api_keys.revoked_at IS NULL;
