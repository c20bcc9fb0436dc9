-- name: make_journal
-- Which states of the dbt project this database has been given.
CREATE TABLE IF NOT EXISTS billing_migrations.deployments (
    digest text NOT NULL, deployed_at timestamptz PRIMARY KEY DEFAULT clock_timestamp());

-- name: is_deployed
-- Whether the last deployment was of this state, and its models still stand.
SELECT coalesce(
    (SELECT digest FROM billing_migrations.deployments ORDER BY deployed_at DESC LIMIT 1) = %(digest)s
    AND to_regclass('marts.fct_bills') IS NOT NULL,
    false) AS deployed;

-- name: let_readers_read
-- Whoever is a member of billing_reader reads the marts, those to come included, and nothing else. Where this user may not make roles,
-- somebody who may makes it once; see docs/finance.md.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'billing_reader') THEN
        CREATE ROLE billing_reader NOLOGIN;
    END IF;
EXCEPTION WHEN insufficient_privilege OR duplicate_object OR unique_violation THEN
    NULL;
END $$;
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'billing_reader') THEN
        -- The marts call functions of billing by name; its tables stay closed.
        GRANT USAGE ON SCHEMA marts, billing TO billing_reader;
        GRANT SELECT ON ALL TABLES IN SCHEMA marts TO billing_reader;
        ALTER DEFAULT PRIVILEGES IN SCHEMA marts GRANT SELECT ON TABLES TO billing_reader;
    END IF;
END $$;

-- name: record_deployment
-- Remembers the state that was deployed.
INSERT INTO billing_migrations.deployments (digest) VALUES (%(digest)s);
