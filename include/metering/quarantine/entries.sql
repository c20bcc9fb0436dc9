-- Statements of metering.quarantine.entries. Asked on behalf of one team, or of all (team_id null).

-- name: list
-- Entries by filters, the last seen first, from a place in that order on.
SELECT
    entries.team_id, teams.team_key, entries.quarantine_digest, entries.status,
    coalesce(entries.last_reason, entries.reason) AS reason,
    CASE WHEN entries.last_reason IS NULL THEN entries.field ELSE entries.last_field END AS field,
    coalesce(entries.last_message, entries.message) AS message,
    entries.source, entries.line, entries.times_seen, entries.first_recorded_at, entries.last_recorded_at,
    entries.mended_payload IS NOT NULL AS mended
FROM landing.quarantined_events AS entries
LEFT JOIN billing.teams AS teams USING (team_id)
WHERE (%(team_id)s::integer IS NULL OR entries.team_id = %(team_id)s)
    AND (%(status)s::text IS NULL OR entries.status = %(status)s)
    AND (%(reason)s::text IS NULL OR coalesce(entries.last_reason, entries.reason) = %(reason)s)
    AND (%(source)s::text IS NULL OR entries.source = %(source)s)
    AND (%(after_digest)s::uuid IS NULL
         OR (entries.last_recorded_at, entries.quarantine_digest)
            < (%(after_time)s::timestamptz, %(after_digest)s::uuid)
         OR ((entries.last_recorded_at, entries.quarantine_digest)
             = (%(after_time)s::timestamptz, %(after_digest)s::uuid)
             AND entries.team_id < %(after_team)s))
    AND (%(after_time)s::timestamptz IS NULL OR entries.last_recorded_at <= %(after_time)s)
ORDER BY entries.last_recorded_at DESC, entries.quarantine_digest DESC, entries.team_id DESC
LIMIT %(size)s;

-- name: count
-- How many entries there are by team, status and reason.
SELECT
    teams.team_key, entries.status, coalesce(entries.last_reason, entries.reason) AS reason,
    count(*) AS entries, sum(entries.times_seen)::bigint AS times_seen, max(entries.last_recorded_at) AS last_recorded_at
FROM landing.quarantined_events AS entries
LEFT JOIN billing.teams AS teams USING (team_id)
WHERE (%(team_id)s::integer IS NULL OR entries.team_id = %(team_id)s)
    AND (%(status)s::text IS NULL OR entries.status = %(status)s)
    AND (%(reason)s::text IS NULL OR coalesce(entries.last_reason, entries.reason) = %(reason)s)
    AND (%(source)s::text IS NULL OR entries.source = %(source)s)
GROUP BY teams.team_key, entries.status, coalesce(entries.last_reason, entries.reason)
ORDER BY count(*) DESC, teams.team_key, reason;

-- name: entry
-- One entry as a whole.
SELECT
    entries.team_id, teams.team_key, entries.quarantine_digest, entries.status, entries.reason AS first_reason,
    coalesce(entries.last_reason, entries.reason) AS reason,
    CASE WHEN entries.last_reason IS NULL THEN entries.field ELSE entries.last_field END AS field,
    coalesce(entries.last_message, entries.message) AS message,
    entries.source, entries.line, entries.times_seen, entries.first_recorded_at, entries.last_recorded_at,
    entries.payload, entries.mended_payload, entries.mended_payload IS NOT NULL AS mended
FROM landing.quarantined_events AS entries
LEFT JOIN billing.teams AS teams USING (team_id)
WHERE entries.team_id = %(entry_team)s AND entries.quarantine_digest = %(digest)s;

-- name: history
-- What was done about an entry.
SELECT acted_at, action, actor, outcome, reason, message, payload
FROM landing.quarantine_actions
WHERE team_id = %(entry_team)s AND quarantine_digest = %(digest)s
ORDER BY action_id;

-- name: mend
-- From now on this is sent in place of what was; what was stays.
WITH mended AS (
    UPDATE landing.quarantined_events SET mended_payload = %(payload)s
    WHERE team_id = %(entry_team)s AND quarantine_digest = %(digest)s AND status = 'held'
    RETURNING team_id, quarantine_digest
)
INSERT INTO landing.quarantine_actions (team_id, quarantine_digest, action, actor, payload)
SELECT team_id, quarantine_digest, 'mended', %(actor)s, %(payload)s FROM mended
RETURNING action_id;

-- name: select_entries
-- The entries that a bulk action is about, in the order of their key, from a place in it on.
SELECT
    entries.team_id, teams.team_key, entries.quarantine_digest, entries.first_recorded_at,
    coalesce(entries.mended_payload, entries.payload) AS payload
FROM landing.quarantined_events AS entries
LEFT JOIN billing.teams AS teams USING (team_id)
WHERE (%(team_id)s::integer IS NULL OR entries.team_id = %(team_id)s)
    AND entries.status = %(status)s
    AND (%(reason)s::text IS NULL OR coalesce(entries.last_reason, entries.reason) = %(reason)s)
    AND (%(source)s::text IS NULL OR entries.source = %(source)s)
    AND (%(digests)s::uuid[] IS NULL OR (entries.team_id, entries.quarantine_digest) IN (
        SELECT * FROM unnest(%(teams)s::integer[], %(digests)s::uuid[])))
    AND (%(after_digest)s::uuid IS NULL
         OR (entries.team_id, entries.quarantine_digest) > (%(after_team)s::integer, %(after_digest)s::uuid))
ORDER BY entries.team_id, entries.quarantine_digest
LIMIT %(size)s;

-- name: change_status
-- Discard what is held, or hold again what was discarded; in one order for all who write.
WITH given AS (
    SELECT entries.team_id, entries.quarantine_digest
    FROM landing.quarantined_events AS entries
    JOIN unnest(%(teams)s::integer[], %(digests)s::uuid[]) AS given (team_id, quarantine_digest)
        USING (team_id, quarantine_digest)
    WHERE entries.status = %(status)s
    ORDER BY entries.team_id, entries.quarantine_digest
    FOR UPDATE OF entries
),
changed AS (
    UPDATE landing.quarantined_events AS entries SET status = %(new_status)s
    FROM given
    WHERE entries.team_id = given.team_id AND entries.quarantine_digest = given.quarantine_digest
    RETURNING entries.team_id, entries.quarantine_digest
)
INSERT INTO landing.quarantine_actions (team_id, quarantine_digest, action, actor, message)
SELECT team_id, quarantine_digest, %(action)s, %(actor)s, %(message)s FROM changed
RETURNING team_id, quarantine_digest;

-- name: settle
-- Say what became of entries that were sent again, in the transaction in which their events have landed.
WITH given AS (
    SELECT * FROM unnest(
        %(teams)s::integer[], %(digests)s::uuid[], %(outcomes)s::text[], %(reasons)s::text[], %(fields)s::text[],
        %(messages)s::text[]) AS given (team_id, quarantine_digest, outcome, reason, field, message)
),
settled AS (
    UPDATE landing.quarantined_events AS entries SET
        status = CASE given.outcome WHEN 'quarantined' THEN 'held' ELSE 'resent' END,
        last_reason = given.reason,
        last_field = given.field,
        last_message = given.message
    FROM given
    WHERE entries.team_id = given.team_id AND entries.quarantine_digest = given.quarantine_digest
        -- Whoever has settled it beside us has done the same; what has counted has, though somebody discards it meanwhile.
        AND (entries.status = 'held' OR (entries.status = 'discarded' AND given.outcome <> 'quarantined'))
    RETURNING entries.team_id, entries.quarantine_digest
)
INSERT INTO landing.quarantine_actions (team_id, quarantine_digest, action, actor, outcome, reason, message)
SELECT given.team_id, given.quarantine_digest, 'resent', %(actor)s, given.outcome, given.reason, given.message
FROM given JOIN settled USING (team_id, quarantine_digest);
