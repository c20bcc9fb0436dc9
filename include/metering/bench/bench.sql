-- Statements of metering.bench: a catalog to send events against, and what became of them.

-- name: make_teams
-- So many teams.
INSERT INTO billing.teams (team_key, team_name, time_zone)
SELECT 'bench-' || number, 'Bench ' || number, 'UTC' FROM generate_series(1, %(teams)s) AS number;

-- name: make_meter
-- A meter that adds up the quantities of the events.
INSERT INTO billing.meters (meter_key, meter_name, event_name, aggregation, unit)
VALUES ('bench', 'Bench', %(event)s, 'sum', 'call');

-- name: empty
-- Every measurement begins with empty tables.
TRUNCATE landing.usage_events, landing.event_keys, landing.batches, landing.quarantined_events, landing.quarantine_actions,
    landing.file_imports;

-- name: settle
-- What earlier measurements left to be written is written before the next one.
CHECKPOINT;

-- name: landed
-- How many events and keys there are, and how many events the batches say were accepted.
SELECT
    (SELECT count(*) FROM landing.usage_events) AS events,
    (SELECT count(*) FROM landing.event_keys) AS keys,
    (SELECT coalesce(sum(accepted), 0) FROM landing.batches)::bigint AS accepted;
