-- Statements of metering.ingestion.keys.

-- name: team
-- The team that a key is to belong to.
SELECT team_id FROM billing.teams WHERE team_key = %(team_key)s;

-- name: create_key
-- Keep a new key by its digest; the hint lets people tell keys apart and is of no use to anyone else.
INSERT INTO billing.api_keys (key_digest, key_hint, team_id, scopes, rate_per_second, rate_burst)
VALUES (%(key_digest)s, %(key_hint)s, %(team_id)s, %(scopes)s, %(rate_per_second)s, %(rate_burst)s);

-- name: revoke_key
-- Revoke a key by its digest or by its hint.
UPDATE billing.api_keys SET revoked_at = clock_timestamp()
WHERE (key_digest = %(key_digest)s OR key_hint = %(key)s) AND revoked_at IS NULL
RETURNING key_hint;

-- name: limit_key
-- Change the rate of a key, meant by its digest or by its hint; without one it is not limited.
UPDATE billing.api_keys SET rate_per_second = %(rate_per_second)s, rate_burst = %(rate_burst)s
WHERE (key_digest = %(key_digest)s OR key_hint = %(key)s) AND revoked_at IS NULL
RETURNING key_hint;

-- name: keys
-- Every key that was ever made, the newest first.
SELECT
    keys.key_hint, teams.team_key, keys.scopes, keys.rate_per_second, keys.rate_burst, keys.created_at, keys.revoked_at
FROM billing.api_keys AS keys
LEFT JOIN billing.teams AS teams USING (team_id)
ORDER BY keys.created_at DESC, keys.key_hint;
