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

-- name: record_deployment
-- Remembers the state that was deployed.
INSERT INTO billing_migrations.deployments (digest) VALUES (%(digest)s);
