-- Landing at a hundred thousand events a second: what an event costs is decided by the indexes that it has to enter.

-- That a key counts once is proven by event_keys, in the same transaction. A second proof per event cost as much as storing
-- the event. What remains leads to the events of a team and a time, and its inserts are nearly in order.
ALTER TABLE landing.usage_events DROP CONSTRAINT usage_events_pkey;
CREATE INDEX usage_events_team_time ON landing.usage_events (team_id, occurred_at);
COMMENT ON TABLE landing.usage_events IS
    'Usage events, one row an event that counts, partitioned by month (UTC) of the time it occurred. Never updated. '
    'Written only in the transaction that claims the key in landing.event_keys, which makes (team_id, key_digest) unique.';
COMMENT ON COLUMN landing.event_keys.occurred_at IS 'Leads to the event: (team_id, occurred_at) is indexed there.';

CREATE FUNCTION landing.standing_keys(teams integer[], keys uuid[]) RETURNS bytea
LANGUAGE sql STABLE
-- The number of keys here is known and small beside the table; a plan that reads the table whole would be a mistake.
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET enable_material = off
AS $$
    SELECT coalesce(string_agg(int4send(given.place::integer - 1) || uuid_send(event_keys.content_digest), ''), '')
    FROM unnest(teams, keys) WITH ORDINALITY AS given (team_id, key_digest, place)
    JOIN landing.event_keys USING (team_id, key_digest)
$$;
COMMENT ON FUNCTION landing.standing_keys(integer[], uuid[]) IS
    'Which of these keys have counted: for each its place (from 0, four bytes) and the digest of its content (16 bytes).';
