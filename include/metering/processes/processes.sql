-- name: database_exists
-- Whether the server has a database of this name.
SELECT true AS found FROM pg_catalog.pg_database WHERE datname = %(name)s;

-- name: tables
-- How many tables a database holds, whoever made them.
SELECT count(*) AS tables
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p')
    AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg_toast%%';

-- name: exists
-- Whether there is a table of this name.
SELECT to_regclass(%(name)s) IS NOT NULL AS found;

-- name: claim
-- Marks a database as Airflow's of this installation, so that nobody else's is ever migrated.
CREATE TABLE IF NOT EXISTS public.billing_installation (claimed_at timestamptz NOT NULL DEFAULT clock_timestamp());

-- name: database_size
-- How many bytes this database takes.
SELECT pg_database_size(current_database()) AS bytes;

-- name: events
-- How many events have landed, by the batches they came in.
SELECT coalesce(sum(accepted), 0)::bigint AS events, max(recorded_at) AS last_recorded_at FROM landing.batches;

-- name: quarantine
-- How many events wait for somebody to mend or discard them.
SELECT count(*) AS held FROM landing.quarantined_events WHERE status = 'held';

-- name: metering
-- How far metering has come, and how much has landed that no finished run has taken up.
SELECT
    (SELECT max(closed_at) FROM billing.metering_runs) AS last_finished_at,
    (SELECT max(recorded_until) FROM billing.metering_runs WHERE closed_at IS NOT NULL) AS recorded_until,
    (SELECT count(*) FROM billing.buckets_to_meter) AS buckets_waiting;

-- name: dag_runs
-- Each DAG's latest run, out of Airflow's metadata.
SELECT DISTINCT ON (dag_id) dag_id, state, run_id, coalesce(end_date, start_date, queued_at) AS at
FROM public.dag_run
ORDER BY dag_id, coalesce(start_date, queued_at) DESC NULLS LAST;

-- name: beats
-- Whether one of Airflow's programs on this host has said within the last half minute that it is alive.
SELECT EXISTS (
    SELECT FROM public.job
    WHERE job_type = %(job)s AND hostname = %(host)s AND latest_heartbeat > clock_timestamp() - interval '30 seconds'
) AS alive;
